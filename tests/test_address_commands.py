"""xhmtp alias and xhmtp group, as people meet them at a terminal."""

from pathlib import Path

import pytest

from tests.live.delivery import sender
from tests.live.servers import AgentServer


@pytest.fixture
def a(tmp_path: Path) -> AgentServer:
    """alice's agent; its web server is not started, and no name server is there."""
    return sender(tmp_path, 9)


def refused(a: AgentServer, *arguments: str, code: int = 1, typed: str = "") -> str:
    """The one line that a command ends with."""
    done = a.run("xhmtp", *arguments, typed=typed)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_an_alias_is_made_listed_and_removed(a: AgentServer):
    made = a.must("xhmtp", "alias", "add", "Info@a.example", "alice@a.example", "--send")
    assert made == "info@a.example leads to alice@a.example: mailbox alice@a.example\n"
    a.must("xhmtp", "alias", "add", "*@a.example", "info@a.example")
    moved = a.must("xhmtp", "alias", "add", "old@a.example", "carol@c.example")
    assert "elsewhere (308) carol@c.example" in moved
    assert a.must("xhmtp", "alias", "list", "a.example").splitlines() == [
        "ADDRESS         TARGET           SENDS  LEADS TO",
        "*@a.example     info@a.example   no     mailbox alice@a.example",
        "info@a.example  alice@a.example  yes    mailbox alice@a.example",
        "old@a.example   carol@c.example  no     elsewhere (308) carol@c.example",
    ]
    assert a.must("xhmtp", "alias", "list", "b.example").splitlines()[1:] == []
    assert "is an alias already" in refused(a, "alias", "add", "old@a.example", "alice@a.example")
    assert "not act for" in refused(a, "alias", "add", "x@b.example", "alice@a.example")
    assert "an address has the form" in refused(a, "alias", "add", "x", "alice@a.example")
    a.must("xhmtp", "alias", "remove", "old@a.example")
    assert "is no alias" in refused(a, "alias", "remove", "old@a.example")


def test_an_alias_of_an_account_says_what_becomes_of_it(a: AgentServer):
    made = a.must("xhmtp", "alias", "add", "alice@a.example", "carol@c.example")
    assert "alice@a.example keeps its account, and gets nothing new" in made
    assert a.must("xhmtp", "user", "list") == "alice@a.example\n"


def test_an_alias_to_nobody_any_more_is_shown_as_such(a: AgentServer):
    a.must("xhmtp", "alias", "add", "info@a.example", "alice@a.example")
    a.must("xhmtp", "user", "remove", "alice@a.example", "--yes")
    assert a.must("xhmtp", "alias", "list").splitlines()[1].endswith("no     nobody")


def test_a_group_is_made_filled_changed_and_removed(a: AgentServer):
    team = "team@a.example"
    made = a.must(
        "xhmtp", "group", "add", team, "--title", "Die Müller", "--owner", "alice@a.example"
    )
    assert made == (
        "team@a.example is Die Müller: its members may write, its owners let people in\n"
    )
    typed = "bob@b.example\n\nCarla@b.example\nbob@b.example\n"
    assert a.must("xhmtp", "group", "join", team, "-", typed=typed).startswith("2 joined")
    listed = a.must("xhmtp", "group", "members", team).splitlines()
    assert [line.split()[:2] for line in listed] == [
        ["ADDRESS", "AS"], ["alice@a.example", "owner"], ["bob@b.example", "member"],
        ["Carla@b.example", "member"],
    ]  # fmt: skip
    assert a.must("xhmtp", "group", "join", team, "bob@b.example", "--owner").startswith("0")
    assert a.must("xhmtp", "group", "leave", team, "carla@b.example", "x@y.example") == (
        f"1 left {team}\n"
    )
    changed = a.must("xhmtp", "group", "set", team, "--writers", "anybody", "--joining", "anybody")
    assert changed == "team@a.example is Die Müller: anybody may write, anybody may join\n"
    assert a.must("xhmtp", "group", "list").splitlines()[1].split() == [
        team, "2", "anybody", "anybody", "Die", "Müller",
    ]  # fmt: skip
    a.must("xhmtp", "group", "remove", team, "--yes")
    assert a.must("xhmtp", "group", "list").splitlines()[1:] == []


def test_what_cannot_be_done_with_a_group_is_said_in_one_line(a: AgentServer):
    team = "team@a.example"
    a.must("xhmtp", "group", "add", team)
    assert "is a group already" in refused(a, "group", "add", team)
    assert "has an account" in refused(a, "group", "add", "alice@a.example")
    assert "no + in it" in refused(a, "group", "add", "team+x@a.example")
    assert "is a group" in refused(a, "user", "add", team, "-", typed="password\n")
    assert "is a group" in refused(a, "alias", "add", team, "alice@a.example")
    assert "there is no group" in refused(a, "group", "join", "no@a.example", "bob@b.example")
    assert "cannot be in itself" in refused(a, "group", "join", team, team)
    wrong = refused(a, "group", "join", team, "-", typed="bob@b.example\nnobody\n")
    assert "'nobody': an address has the form" in wrong
    assert a.must("xhmtp", "group", "members", team).splitlines()[1:] == [], "all or none"
    assert "is not one of" in refused(a, "group", "set", team, "--writers", "all", code=2)


def test_filters_are_those_of_users_aliases_and_groups(a: AgentServer):
    a.must("xhmtp", "group", "add", "team@a.example")
    a.must("xhmtp", "alias", "add", "info@a.example", "alice@a.example")
    for owner in ("team@a.example", "info@a.example", "alice+shop@a.example", "a.example"):
        a.must("xhmtp", "filter", "add", owner, "quarantine", "*")
        assert "quarantine  *" in a.must("xhmtp", "filter", "list", owner)
    assert "is nobody here" in refused(a, "filter", "add", "no@a.example", "refuse", "*")
    assert "is nobody here" in refused(a, "filter", "add", "bob@b.example", "refuse", "*")
    a.must("xhmtp", "quarantine", "list", "team@a.example")
    assert "has no mailbox here" in refused(a, "quarantine", "list", "info@a.example")
