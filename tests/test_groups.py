"""Groups: who may write, what is passed on and how, and no circles."""

from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from tests.group_world import CARLA, TEAM, Team, make_team, notify_team
from tests.test_ssh_signature import keygen
from tests.world import ALICE, BOB, World
from xhmtp_wsgi import group_register, groups
from xhmtp_wsgi.errors import Forbidden
from xhmtp_wsgi.group_register import Writers
from xhmtp_wsgi.groups.list_header import MOST_HOPS, passed_on
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.signed_message import sign_message
from xhmtp_wsgi.protocol.ssh_signature import PublicKey, sign
from xhmtp_wsgi.recipient import filters, inbox, reading
from xhmtp_wsgi.recipient import tables as inbox_tables
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.sender import author_keys
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.tables import deliveries, messages, pieces


@pytest.fixture
def team(world: World) -> Team:
    return make_team(world)


@pytest.fixture
def quick_team(sqlite_world: World) -> Team:
    """The same on SQLite alone."""
    return make_team(sqlite_world)


# Passing on


def test_what_a_member_writes_comes_to_everybody_once_from_one_stored_copy(team: Team):
    assert team.write().notified == 1
    assert team.subjects(CARLA) == [], "the web process only takes it in"
    assert team.work().notified == 3
    for owner in (ALICE, BOB, CARLA):
        assert team.subjects(owner) == ["hello"]
        assert team.read(owner).octets.endswith(b"\r\n\r\nDear all\r\n")
    assert team.stored() == 1
    with team.world.a.agent.database.reading() as connection:
        rows = connection.execute(
            select(deliveries.c.code_hash, deliveries.c.message).join(messages)
            .where(messages.c.sender == str(TEAM))
        ).all()  # fmt: skip
        assert len({row.code_hash for row in rows}) == 3, "each has a code of his own"
        assert len({row.message for row in rows}) == 1
        assert connection.execute(
            select(func.count()).select_from(pieces).where(pieces.c.message == rows[0].message)
        ).scalar_one() == 1  # fmt: skip
    assert team.work().tried == 0
    assert team.subjects(CARLA) == ["hello"]


def test_a_member_is_told_which_list_it_is_who_wrote_and_how_to_leave(quick_team: Team):
    quick_team.write(
        more="Reply-To: bob+answers@b.example\r\nSender: bob@b.example\r\n"
        "List-Id: <forged.example>\r\nOriginal-From: carla@b.example\r\n"
    )
    quick_team.work()
    told = fields_of(quick_team.inbox(CARLA)[0])
    assert told["from"] == "Bob Builder via The Team <team@a.example>"
    assert told["list-id"] == '"The Team" <team.a.example>'
    assert told["list-unsubscribe"] == "<mailto:team+leave@a.example>"
    checks = {check.name: check.result for check in quick_team.inbox(CARLA)[0].checks}
    assert (checks["origin"], checks["agent"]) == ("pass", "pass")
    header = quick_team.header(CARLA)
    assert header["Original-From"] == "Bob Builder <bob@b.example>"
    assert header["Reply-To"] == "bob+answers@b.example"
    assert header["To"] == str(TEAM)
    assert header["List-Post"] == "<mailto:team@a.example>"
    assert header["Precedence"] == "list"
    assert header["Delivered-To"] == str(TEAM)
    for name in ("From", "List-Id", "Sender", "Reply-To", "Original-From"):
        assert len(header.get_all(name, [])) == (name != "Sender")


@pytest.mark.parametrize(
    ("author", "shown"),
    [("bob@b.example", "bob at b.example via The Team"),
     ("=?utf-8?q?B=C3=B6b?= <bob@b.example>", "Böb via The Team"),
     ('"Bob, the <best>" <bob@b.example>', "Bob, the <best> via The Team"),
     (f"{'x' * 300} <bob@b.example>", f"{'x' * 100} via The Team")],
)  # fmt: skip
def test_whose_name_is_shown(quick_team: Team, author: str, shown: str):
    quick_team.write(author)
    quick_team.work()
    told = fields_of(quick_team.inbox(CARLA)[0])["from"].replace('"', "")
    assert told == f"{shown} <team@a.example>"


def test_the_same_message_again_is_not_sent_twice(quick_team: Team):
    same = "Message-ID: <one@b.example>\r\n"
    quick_team.write(more=same)
    quick_team.work()
    # To the group's other name: another notification, with a code of its own, of one message.
    quick_team.world.a.agent.addressing.add(Endpoint.parse("all@a.example"), TEAM, 0.0)
    again = f"From: carla@b.example\r\nTo: all@a.example\r\n{same}\r\n"
    assert quick_team.write_octets(again.encode(), "carla@b.example").notified == 1
    quick_team.work()
    assert quick_team.subjects(ALICE) == ["hello"]
    assert quick_team.stored() == 1


def test_a_message_without_a_name_gets_one_that_is_always_the_same(quick_team: Team):
    octets = b"From: bob@b.example\r\n\r\nx"
    first, second = (passed_on(octets, quick_team.group, BOB).header for _ in range(2))
    assert first == second
    assert b"\r\nMessage-ID: <" in first
    other = passed_on(
        octets.replace(b"\n\r\nx", b"\nMessage-ID: none\r\n\r\nx"), quick_team.group, BOB
    )
    assert other.header.count(b"Message-ID:") == 1


def test_a_message_of_many_pieces_is_passed_on_whole(quick_team: Team):
    text = "0123456789abcdef" * 50_000 + "\r\n"
    quick_team.write(text=text)
    quick_team.work()
    assert quick_team.read(CARLA).octets.endswith(text.encode())


def test_a_group_of_nobody_passes_nothing_on(quick_team: Team):
    group_register.leave(quick_team.world.a.agent.database, quick_team.group, [ALICE, BOB, CARLA])
    quick_team.set(Writers.ANYBODY)
    quick_team.write()
    assert quick_team.work().tried == 0
    assert quick_team.stored() == 0


def test_what_is_released_from_quarantine_is_passed_on(quick_team: Team):
    database = quick_team.world.a.agent.database
    filters.add(database, str(TEAM), Action.QUARANTINE, "bob@b.example")
    quick_team.write()
    assert quick_team.work().tried == 0
    (held,) = inbox.quarantined(database, TEAM)
    inbox.release(database, TEAM, held.identifier, quick_team.world.clock())
    assert quick_team.work().notified == 3


# An author's own signature


def signed_by_bob(team: Team, directory: Path, message: bytes) -> bytes:
    key = directory / "bob"
    keygen("-t", "ed25519", "-N", "", "-f", str(key))
    public = PublicKey.parse(key.with_suffix(".pub").read_text())
    author_keys.add_key(team.world.b.agent.database, BOB, public, team.world.clock())
    secret = key.read_bytes()
    return sign_message(message, lambda given: sign(secret, None, given), "edge42")


def test_what_an_author_signed_is_verified_behind_the_group(quick_team: Team, tmp_path: Path):
    message = (
        b"From: Bob <bob@b.example>\r\nTo: team@a.example\r\nSubject: hello\r\n\r\nDear all\r\n"
    )
    quick_team.write_octets(signed_by_bob(quick_team, tmp_path, message))
    quick_team.work()
    check = quick_team.read(CARLA).checks[1]
    assert (check.name, check.result) == ("original author", "pass")
    assert "signed by bob@b.example" in check.reason
    assert "passed on by Bob via The Team <team@a.example>" in check.reason
    octets = quick_team.read(CARLA).octets
    for changed in (octets.replace(b"Dear all", b"Dear you"),
                    octets.replace(b"Subject: hello", b"Subject: other", 1),
                    octets.replace(b"Original-From: Bob", b"Original-From: Rob")):  # fmt: skip
        assert changed != octets
        found = reading.check_author(quick_team.world.b.agent, CARLA, changed)
        assert found.result == "fail", found


def test_a_group_cannot_make_an_author_of_whom_it_likes(quick_team: Team, tmp_path: Path):
    """From is carla, Original-From is bob, who signed: that never passes as *author*."""
    message = b"From: bob@b.example\r\nTo: team@a.example\r\nSubject: hello\r\n\r\nDear all\r\n"
    signed = signed_by_bob(quick_team, tmp_path, message)
    forged = signed.replace(
        b"From: bob@b.example\r\n",
        b"From: carla@b.example\r\nOriginal-From: bob@b.example\r\nList-Id: <x.example>\r\n", 1,
    )  # fmt: skip
    check = reading.check_author(quick_team.world.b.agent, CARLA, forged)
    assert check.name == "original author"
    unlisted = forged.replace(b"List-Id: <x.example>\r\n", b"")
    check = reading.check_author(quick_team.world.b.agent, CARLA, unlisted)
    assert (check.name, check.result) == ("author", "fail")


# Who may write


@pytest.mark.parametrize(
    ("writers", "author", "taken"),
    [("members", "bob@b.example", True), ("members", "dora@b.example", False),
     ("owners", "bob@b.example", False), ("owners", "dora@b.example", False),
     ("anybody", "dora@b.example", True), ("anybody", "bob@b.example", True)],
)  # fmt: skip
def test_who_may_write(quick_team: Team, writers: str, author: str, taken: bool):
    quick_team.world.b.agent.accounts.add(Endpoint.parse("dora@b.example"), None)
    quick_team.set(Writers(writers))
    message = f"From: {author}\r\nTo: team@a.example\r\nSubject: hello\r\n\r\nx".encode()
    report = quick_team.write_octets(message, author)
    assert (report.notified, report.refused) == ((1, 0) if taken else (1, 1)), "and he is told"
    assert quick_team.work().notified == (3 if taken else 0)


def test_an_owner_may_write_where_only_owners_may(quick_team: Team):
    quick_team.set(Writers.OWNERS)
    quick_team.join(str(BOB), owner=True)
    assert quick_team.write().refused == 0
    assert quick_team.work().notified == 3


def test_a_from_counts_only_where_the_checks_vouch_for_it(quick_team: Team):
    team, there = quick_team, "192.0.2.2"
    assert notify_team(team, "bob@b.example", "192.0.2.66") == 403, "not from bob's agent"
    # From the right host, but for an author who is no user of its domain.
    assert notify_team(team, "alice@a.example", there) == 403
    assert notify_team(team, "", there) == 403
    team.world.resolver.failing.add("_xhmtps._tcp.b.example")
    assert notify_team(team, "bob@b.example", there) == 503, "the DNS does not tell just now"
    team.world.resolver.failing.clear()
    assert notify_team(team, "bob@b.example", there) == 201


def test_an_anonymous_message_is_passed_on_where_anybody_may_write(quick_team: Team):
    object.__setattr__(quick_team.world.b.agent.settings.domains["b.example"], "anonymous", True)
    message = b"To: team@a.example\r\nSubject: hello\r\n\r\nx"
    assert quick_team.write_octets(message).refused == 1
    quick_team.set(Writers.ANYBODY)
    quick_team.write_octets(message)
    quick_team.work()
    told = fields_of(quick_team.inbox(CARLA)[-1])
    assert told["from"] == "Somebody via The Team <team@a.example>"
    assert quick_team.header(CARLA)["Original-From"] is None


def test_a_message_by_another_than_its_notification_told_is_not_passed_on(quick_team: Team):
    quick_team.write()
    with quick_team.world.a.agent.database.transaction() as connection:
        headers = b"From: carla@b.example\r\nSubject: hello\r\n"
        connection.execute(update(inbox_tables.notices).values(headers=headers))
    quick_team.work()
    assert quick_team.subjects(ALICE) == []
    assert quick_team.subjects(CARLA) == ["Not passed on: hello"]
    assert quick_team.work().tried == 0


def test_a_domain_that_hides_its_names_hides_its_groups(quick_team: Team):
    domain = quick_team.world.a.agent.settings.domains["a.example"]
    object.__setattr__(domain, "unknown_recipients", "hide")
    quick_team.world.b.agent.accounts.add(Endpoint.parse("dora@b.example"), None)
    there = "192.0.2.2"
    answers = {notify_team(quick_team, "dora@b.example", there, to=to)
               for to in (str(TEAM), "nobody@a.example", "team+join@a.example")}  # fmt: skip
    assert answers == {202}
    assert quick_team.work().tried == 0
    assert notify_team(quick_team, "bob@b.example", there) == 202
    assert quick_team.write().notified == 1


def test_injection_knows_the_groups_of_its_own_domain(quick_team: Team):
    world = quick_team.world
    for to, status in (("team@a.example", 201), ("team+leave@a.example", 201),
                       ("team+other@a.example", 422), ("other@a.example", 422)):  # fmt: skip
        message = f"From: alice@a.example\r\nTo: {to}\r\n\r\nx".encode()
        assert world.inject(message).status_int == status


def test_whoever_can_log_in_cannot_write_in_a_groups_name(quick_team: Team):
    message = b"From: team@a.example\r\nTo: bob@b.example\r\n\r\nx"
    assert quick_team.world.inject(message).status_int == 403


# Circles


def test_what_has_been_through_a_group_does_not_come_in_again(quick_team: Team):
    own = "List-Id: The Team <team.a.example>\r\n"
    assert notify_team(quick_team, "bob@b.example", "192.0.2.2", more=own) == 403
    octets = b"From: bob@b.example\r\nDelivered-To: %s\r\n\r\nx"
    for trace in (b"team@a.example", b"TEAM@A.example"):
        with pytest.raises(Forbidden, match="already"):
            passed_on(octets % trace, quick_team.group, BOB)
    with pytest.raises(Forbidden, match="already"):
        passed_on(b"From: bob@b.example\r\n" + own.encode() + b"\r\nx", quick_team.group, BOB)
    many = b"".join(b"Delivered-To: g%d@b.example\r\n" % number for number in range(MOST_HOPS))
    with pytest.raises(Forbidden, match="10 groups"):
        passed_on(b"From: bob@b.example\r\n" + many + b"\r\nx", quick_team.group, BOB)
    fewer = many.replace(b"Delivered-To: g0@b.example\r\n", b"")
    passed_on(b"From: bob@b.example\r\n" + fewer + b"\r\nx", quick_team.group, BOB)


def test_two_groups_that_are_in_each_other_pass_a_message_on_once(quick_team: Team):
    team, world = quick_team, quick_team.world
    other = Endpoint.parse("crowd@b.example")
    made = group_register.add(
        world.b.agent.database, other, 0.0, writers=Writers.ANYBODY, title="Crowd"
    )
    group_register.join(world.b.agent.database, made, [TEAM, BOB], 0.0, most=9)
    team.join(str(other))
    team.set(Writers.ANYBODY)
    team.write()
    for _ in range(4):
        team.work()
        Notifier(world.b.agent, more=(groups.work_through,)).run_pass()
    assert team.subjects(CARLA) == ["hello"]
    assert team.subjects(BOB).count("hello") == 2, "as a member of both"
    header = team.header(BOB)
    assert header.get_all("Delivered-To") == [str(other), str(TEAM)]
    assert header["From"] == "Bob Builder via The Team via Crowd <crowd@b.example>"
    assert team.stored() == 1


def test_a_group_cannot_be_in_itself(quick_team: Team):
    with pytest.raises(Forbidden):
        quick_team.join("Team@a.example")
    # By another name it can, and then its own List-Id is refused.
    quick_team.world.a.agent.addressing.add(Endpoint.parse("all@a.example"), TEAM, 0.0)
    quick_team.join("all@a.example")
    quick_team.set(Writers.ANYBODY)
    quick_team.write()
    assert quick_team.work().refused == 1
    for _ in range(3):
        quick_team.work()
    assert quick_team.subjects(CARLA) == ["hello"]
    assert quick_team.stored() == 2, "the message, and what its owners are told of the refusal"


@pytest.mark.parametrize(("said", "copies"), [("auto-replied", 0), ("auto-generated", 3)])
def test_automatic_replies_are_not_passed_on_and_other_automatic_messages_are(
    quick_team: Team, said: str, copies: int
):
    assert quick_team.write(more=f"Auto-Submitted: {said}\r\n").refused == 0
    assert quick_team.work().notified == copies
