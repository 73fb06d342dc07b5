"""Who is in a group: coming and going by messages, and the register."""

from dataclasses import replace
from urllib.parse import unquote

import pytest

from tests.group_world import CARLA, TEAM, Team, make_team, notify_team
from tests.world import ALICE, BOB, World, basic, call
from xhmtp_wsgi import group_register
from xhmtp_wsgi.errors import Duplicate, Malformed, NotFound
from xhmtp_wsgi.group_register import Joining
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.notice_text import fields_of


@pytest.fixture
def team(world: World) -> Team:
    return make_team(world)


@pytest.fixture
def quick_team(sqlite_world: World) -> Team:
    """The same on SQLite alone."""
    return make_team(sqlite_world)


# Coming and going


def unsubscribe_address(notice: Notice) -> str:
    value = fields_of(notice)["list-unsubscribe"]
    return unquote(value.removeprefix("<mailto:").removesuffix(">"))


def test_a_member_leaves_by_the_headers_address_and_is_told(team: Team):
    team.write()
    team.work()
    address = unsubscribe_address(team.inbox(BOB)[0])
    team.write(to=address, subject="")
    assert str(BOB) in team.members(), "not by the web process"
    assert team.work().notified == 1
    assert str(BOB) not in team.members()
    assert team.subjects(BOB) == ["hello", "You have left The Team"]
    header = team.header(BOB)
    assert header["Auto-Submitted"] == "auto-replied"
    assert header["In-Reply-To"]
    team.write("carla@b.example <bob@b.example>", subject="again")
    assert team.subjects(BOB)[-1] == "Not delivered: again", "he may not write any more"


def test_an_alias_may_lead_to_a_group_and_to_its_requests(quick_team: Team):
    addressing = quick_team.world.a.agent.addressing
    for name, target in (("all", "team"), ("bye", "team+leave")):
        addressing.add(
            Endpoint.parse(f"{name}@a.example"), Endpoint.parse(f"{target}@a.example"), 0.0
        )
    quick_team.write(to="all@a.example")
    quick_team.work()
    assert quick_team.subjects(CARLA) == ["hello"]
    quick_team.write(to="bye@a.example")
    quick_team.work()
    assert str(BOB) not in quick_team.members()
    quick_team.join(str(BOB))
    quick_team.write(to="bye@a.example")
    addressing.remove(Endpoint.parse("bye@a.example"))
    quick_team.work()
    assert str(BOB) in quick_team.members()
    assert quick_team.subjects(BOB)[-1] == "Not passed on: hello"
    assert quick_team.subjects(CARLA) == ["hello"], "nobody else reads that he wanted to go"


def test_only_he_himself_can_leave(quick_team: Team):
    there = "192.0.2.2"
    for author, origin in (
        ("bob@b.example", "192.0.2.66"),
        ("alice@a.example", there),
        ("", there),
    ):
        assert notify_team(quick_team, author, origin, to="team+leave@a.example") == 403
    quick_team.write("carla+x@b.example <bob+tag@b.example>", to="team+leave@a.example")
    quick_team.work()
    assert quick_team.members() == [str(ALICE), str(BOB), str(CARLA)]
    assert quick_team.subjects(BOB) == ["You were not in The Team"], "his tag is another address"


def test_anybody_joins_where_anybody_may(quick_team: Team):
    quick_team.set(joining=Joining.ANYBODY)
    group_register.leave(quick_team.world.a.agent.database, quick_team.group, [BOB])
    quick_team.write(to="Team+JOIN@a.example")
    quick_team.work()
    assert str(BOB) in quick_team.members()
    assert quick_team.subjects(BOB) == ["You are in The Team now"]
    assert b"team+leave@a.example" in quick_team.read(BOB).octets
    quick_team.write(to="team+join@a.example")
    quick_team.work()
    assert quick_team.subjects(BOB)[1:] == ["You are in The Team already"]
    quick_team.write()
    assert quick_team.work().notified == 3


def test_where_owners_let_people_in_nobody_else_does(quick_team: Team):
    database = quick_team.world.a.agent.database
    group_register.leave(database, quick_team.group, [BOB])
    assert quick_team.write(to="team+join@a.example").refused == 1
    quick_team.write("carla@b.example <bob@b.example>", to="team+join@a.example")
    quick_team.work()
    assert quick_team.members() == [str(ALICE), str(CARLA)]
    # It was opened when he asked, and is closed when that is worked on.
    quick_team.set(joining=Joining.ANYBODY)
    quick_team.write(to="team+join@a.example")
    quick_team.set(joining=Joining.OWNERS)
    quick_team.work()
    assert quick_team.members() == [str(ALICE), str(CARLA)]
    assert "Only its owners let people into The Team" in quick_team.subjects(BOB)


def test_an_owner_names_in_the_subject_who_comes_and_who_goes(quick_team: Team):
    quick_team.join(str(BOB), owner=True)
    dora = Endpoint.parse("dora@b.example")
    quick_team.world.b.agent.accounts.add(dora, None)
    quick_team.write(to="team+join@a.example", subject="dora@b.example, carla@b.example x@@y")
    quick_team.work()
    assert str(dora) in quick_team.members()
    assert quick_team.subjects(dora) == ["You are in The Team now"]
    assert quick_team.subjects(CARLA) == [], "she was in it"
    answer = quick_team.read(BOB).octets.decode()
    assert "dora@b.example: done" in answer
    assert "carla@b.example: it was so before" in answer
    assert "x@@y: that is no address" in answer
    quick_team.write(to="team+leave@a.example", subject="<dora@b.example>")
    quick_team.work()
    assert str(dora) not in quick_team.members()
    assert quick_team.subjects(dora)[1:] == ["You are not in The Team any more"]
    assert str(BOB) in quick_team.members()


def test_nobody_but_an_owner_names_others(quick_team: Team):
    quick_team.set(joining=Joining.ANYBODY)
    quick_team.write(to="team+leave@a.example", subject="carla@b.example")
    quick_team.work()
    assert quick_team.members() == [str(ALICE), str(CARLA)], "he has left himself"


@pytest.mark.parametrize(("said", "gone"), [("auto-generated", True), ("auto-replied", False)])
def test_automatic_requests_are_not_answered(quick_team: Team, said: str, gone: bool):
    quick_team.write(to="team+leave@a.example", more=f"Auto-Submitted: {said}\r\n")
    assert quick_team.work().tried == 0
    assert (str(BOB) not in quick_team.members()) is gone


def test_a_full_group_says_so(quick_team: Team):
    quick_team.set(joining=Joining.ANYBODY)
    group_register.leave(quick_team.world.a.agent.database, quick_team.group, [BOB])
    agent = quick_team.world.a.agent
    object.__setattr__(agent, "settings", replace(agent.settings, max_recipients=2))
    quick_team.write(to="team+join@a.example")
    quick_team.work()
    assert quick_team.subjects(BOB) == ["You are not in The Team"]
    assert b"at most 2 members" in quick_team.read(BOB).octets


# The register


def test_what_cannot_be_a_group(quick_team: Team):
    agent = quick_team.world.a.agent
    agent.addressing.add(Endpoint.parse("info@a.example"), ALICE, 0.0)
    for address in ("alice@a.example", "info@a.example"):
        with pytest.raises(Duplicate):
            agent.addressing.require_free(Endpoint.parse(address))
    for address in ("team+x@a.example", "*@a.example"):
        with pytest.raises(Malformed):
            agent.addressing.require_free(Endpoint.parse(address))
    agent.addressing.require_free(Endpoint.parse("free@a.example"))
    with pytest.raises(Duplicate):
        group_register.add(agent.database, TEAM, 0.0)
    for title in ("x" * 101, "two\nlines", "\u202eright to left"):
        with pytest.raises(Malformed):
            group_register.change(agent.database, TEAM, title=title)
    with pytest.raises(NotFound):
        group_register.change(agent.database, BOB, title="x")


def test_a_group_that_is_removed_is_unknown_and_takes_its_members_with_it(team: Team):
    database = team.world.a.agent.database
    team.write()
    group_register.remove(database, TEAM)
    inbox.forget(database, TEAM)
    assert team.work().tried == 0
    assert team.write(subject="again").refused == 1
    group_register.add(database, TEAM, 0.0)
    assert team.members() == []
    with pytest.raises(NotFound):
        group_register.remove(database, BOB)


def test_a_member_is_known_in_any_spelling_and_written_to_as_he_said(quick_team: Team):
    quick_team.join("Dora@b.example")
    quick_team.join("dora@b.example")
    assert quick_team.members()[-1] == "Dora@b.example"
    found = group_register.member(
        quick_team.world.a.agent.database, quick_team.group, Endpoint.parse("DORA@b.example")
    )
    assert found is not None and not found.is_owner
    gone = group_register.leave(
        quick_team.world.a.agent.database, quick_team.group, [Endpoint.parse("dorA@b.example")]
    )
    assert gone == 1


def test_a_feed_of_a_group_is_nobodys(quick_team: Team):
    quick_team.write()
    for user, password in (("team@a.example", "wonderland"), ("alice@a.example", "wonderland")):
        answer = call(
            quick_team.world.a, "/xhmtp/team@a.example", authorization=basic(user, password)
        )
        assert answer.status_int == 401
