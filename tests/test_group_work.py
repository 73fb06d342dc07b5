"""The groups' work in the notifier's pass: reports, what cannot be had, several notifiers."""

import pytest
from sqlalchemy import select, update

from tests.group_world import CARLA, TEAM, Team, make_team
from tests.world import ALICE, BOB, World
from xhmtp_wsgi import groups
from xhmtp_wsgi.errors import ConnectionFailed
from xhmtp_wsgi.groups.passing_on import pass_on
from xhmtp_wsgi.groups.work import _Work
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.recipient import tables as inbox_tables
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.tables import messages, pieces


@pytest.fixture
def team(world: World) -> Team:
    return make_team(world)


@pytest.fixture
def quick_team(sqlite_world: World) -> Team:
    """The same on SQLite alone."""
    return make_team(sqlite_world)


# What the group is told


def test_what_could_not_be_delivered_is_told_to_the_owners_alone(quick_team: Team):
    quick_team.join("gone@b.example")
    quick_team.write()
    assert quick_team.work().refused == 1
    for _ in range(3):
        quick_team.work()
    assert quick_team.subjects(ALICE) == ["hello", "Not delivered: hello"]
    assert quick_team.subjects(CARLA) == ["hello"]
    assert b"gone@b.example" in quick_team.read(ALICE).octets


def test_no_report_is_made_of_what_owners_are_told(quick_team: Team):
    quick_team.join("gone@b.example", owner=True)
    quick_team.write()
    for _ in range(5):
        quick_team.work()
    assert quick_team.subjects(ALICE) == ["hello", "Not delivered: hello"]
    assert quick_team.stored() == 2


# What cannot be had


def test_a_message_that_cannot_be_fetched_is_tried_again(quick_team: Team):
    quick_team.write()
    host = quick_team.world.network.hosts.pop("server.b.example")
    assert quick_team.work().tried == 0
    quick_team.world.network.hosts["server.b.example"] = host
    assert quick_team.work().tried == 0, "not before its time"
    assert quick_team.pass_later(70).notified == 3


def test_a_host_that_does_not_answer_is_asked_once_a_pass(quick_team: Team):
    for number in range(3):
        quick_team.write(subject=str(number))
    asked = []
    real = quick_team.world.network.get

    def get(target, path, headers, **options):
        asked.append(path)
        raise ConnectionFailed("it is not there")

    quick_team.world.network.get = get  # type: ignore[method-assign]
    quick_team.work()
    assert len(asked) == 1
    quick_team.world.network.get = real  # type: ignore[method-assign]
    quick_team.pass_later(70)
    assert sorted(quick_team.subjects(CARLA)) == ["0", "1", "2"]


@pytest.mark.parametrize("status", [503, 429])
def test_an_agent_that_has_no_time_just_now_is_asked_again(quick_team: Team, status: int):
    quick_team.write()
    real = quick_team.world.network.get
    quick_team.world.network.get = (  # type: ignore[method-assign]
        lambda *_, **__: HTTPAnswer(status, {}, b"")
    )
    quick_team.work()
    quick_team.world.network.get = real  # type: ignore[method-assign]
    assert quick_team.pass_later(70).notified == 3


def test_after_five_days_it_is_given_up_and_its_author_told(quick_team: Team):
    quick_team.write()
    host = quick_team.world.network.hosts["server.b.example"]
    quick_team.world.network.hosts["server.b.example"] = ConnectionFailed("it is not there")
    for _ in range(40):
        quick_team.pass_later(4 * 3600)
    quick_team.world.network.hosts["server.b.example"] = host
    for _ in range(3):
        quick_team.pass_later(4 * 3600)
    assert quick_team.subjects(BOB) == ["Not passed on: hello"]
    assert quick_team.header(BOB)["Auto-Submitted"] == "auto-replied"
    assert quick_team.subjects(CARLA) == []
    assert quick_team.pass_later(86400).tried == 0


def test_what_was_changed_since_it_was_told_of_is_not_passed_on(quick_team: Team):
    quick_team.write()
    with quick_team.world.b.agent.database.transaction() as connection:
        changed = b"From: bob@b.example\r\n\r\nchanged"
        connection.execute(update(pieces).values(octets=changed))
        connection.execute(update(messages).values(size=len(changed)))
    quick_team.work()
    assert quick_team.subjects(BOB) == ["Not passed on: hello"]
    assert b"it was changed since" in quick_team.read(BOB).octets
    assert quick_team.subjects(CARLA) == []


def test_what_was_taken_back_before_it_was_passed_on_is_not(quick_team: Team):
    quick_team.write()
    database = quick_team.world.b.agent.database
    (message,) = outbox.sent(database, BOB, limit=9, skip=0)
    outbox.withdraw(database, message.identifier, quick_team.world.clock())
    assert quick_team.work().tried == 0
    assert quick_team.subjects(BOB) == [], "he knows it himself"
    assert quick_team.pass_later(86400).tried == 0


def test_a_fault_of_ours_does_not_hold_up_what_is_behind_it(
    quick_team: Team, monkeypatch: pytest.MonkeyPatch
):
    quick_team.write(subject="first")
    quick_team.write(subject="second")
    real = pass_on

    def faulty(agent, group, notice, author, **options):
        if fields_of(notice)["subject"] == "first":
            raise RuntimeError("a fault")
        return real(agent, group, notice, author, **options)

    monkeypatch.setattr("xhmtp_wsgi.groups.work.pass_on", faulty)
    quick_team.work()
    assert quick_team.subjects(CARLA) == ["second"]
    monkeypatch.setattr("xhmtp_wsgi.groups.work.pass_on", real)
    quick_team.pass_later(70)
    assert quick_team.subjects(CARLA) == ["second", "first"]


def test_two_notifiers_do_not_pass_on_the_same(team: Team):
    """The second works while the first has the message under way."""
    team.write()
    agent = team.world.a.agent
    real = team.world.network.get
    inner: list[int] = []

    def get(target, path, headers, **options):
        if not inner:
            inner.append(groups.work_through(agent, lambda: False))
        return real(target, path, headers, **options)

    team.world.network.get = get  # type: ignore[method-assign]
    assert groups.work_through(agent, lambda: False) == 1
    assert inner == [0]
    assert team.stored() == 1


def test_what_one_notifier_has_begun_is_not_begun_by_another_that_saw_it_waiting(team: Team):
    team.write()
    agent, names = team.world.a.agent, [str(TEAM)]
    first, second = _Work(agent), _Work(agent)
    ((_, notice),) = first.waiting(names)
    assert second.waiting(names) == [(str(TEAM), notice)]
    real = team.world.network.get
    begun: list[int] = []

    def get(target, path, headers, **options):
        begun.append(len(begun))
        if len(begun) == 1:
            assert second.do(team.group, notice) == 0
        return real(target, path, headers, **options)

    team.world.network.get = get  # type: ignore[method-assign]
    assert first.do(team.group, notice) == 1
    assert second.do(team.group, notice) == 0, "nor again once it is done"
    assert len(begun) == 1


def test_a_notifier_that_died_leaves_its_work_to_the_next(quick_team: Team):
    quick_team.write()
    real = quick_team.world.network.get

    def die(*_: object, **__: object) -> HTTPAnswer:
        raise KeyboardInterrupt

    quick_team.world.network.get = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        quick_team.work()
    quick_team.world.network.get = real  # type: ignore[method-assign]
    assert quick_team.work().tried == 0, "until its lease is over"
    assert quick_team.pass_later(301).notified == 3


def test_a_pass_that_is_over_begins_nothing(quick_team: Team):
    quick_team.write()
    assert groups.work_through(quick_team.world.a.agent, lambda: True) == 0
    assert groups.work_through(quick_team.world.a.agent, lambda: False) == 1


def test_what_is_done_is_emptied_and_still_known(quick_team: Team):
    quick_team.write()
    quick_team.work()
    database = quick_team.world.a.agent.database
    assert quick_team.inbox(TEAM) == []
    with database.reading() as connection:
        (row,) = connection.execute(
            select(inbox_tables.notices).join(inbox_tables.mailboxes)
            .where(inbox_tables.mailboxes.c.address == str(TEAM))
        ).all()  # fmt: skip
        assert (row.url, row.headers) == ("", b""), "no access code is kept"
        assert row.url_hash
