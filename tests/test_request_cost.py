"""How often a request asks the database: what is asked for twice, or for nothing, costs each one.

Statements and transactions are counted, and no time is measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, event

from tests.test_fetch import sent
from tests.world import ALICE, BOB, MESSAGE, World, basic, call
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.access_code import matches
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.sender import named_recipients, opened_message, outbox


@dataclass
class Asked:
    """What a database was asked. ``statements``: in their order, without their values."""

    statements: list[str] = field(default_factory=list)
    transactions: int = 0


@contextmanager
def asked(agent: Agent) -> Iterator[Asked]:
    """What an agent asks of its database while the block runs."""
    found = Asked()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            found.statements.append(statement)

    def count(_connection: Connection) -> None:
        found.transactions += 1

    engine = agent.database.engine()
    listeners = (("before_cursor_execute", note), ("begin", count))
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        yield found
    finally:
        for name, listener in listeners:
            event.remove(engine, name, listener)


def test_a_poll_that_finds_nothing_new_asks_three_times(sqlite_world: World):
    world = sqlite_world
    sent(world, b"x")
    token = world.b.agent.accounts.add_token(BOB, "a reader")
    headers = {"If-None-Match": world.feed().headers["ETag"]}
    for authorization in (basic("bob@b.example", "builder"), basic("bob@b.example", token)):
        with asked(world.b.agent) as found:
            assert world.feed(headers=headers, authorization=authorization).status_int == 304
        # The failed log-ins, the account with its token, the mailbox.
        assert (len(found.statements), found.transactions) == (3, 3), found.statements


def test_a_message_of_one_piece_is_fetched_in_one_transaction(sqlite_world: World):
    url, whole = sent(sqlite_world, b"x")
    with asked(sqlite_world.a.agent) as found:
        answer = call(sqlite_world.a, url.path, authorization=basic(str(url.recipient), url.code))
        assert answer.body == whole
    # Who he is with what he gets, and its octets.
    assert (len(found.statements), found.transactions) == (2, 1), found.statements


def test_a_wrong_code_and_a_message_that_never_was_ask_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    url, _ = sent(world, b"x")
    compared: list[str] = []

    def counted(code: str, stored: bytes) -> bool:
        compared.append(code)
        return matches(code, stored)

    monkeypatch.setattr(opened_message, "matches", counted)
    user = str(url.recipient)
    seen = []
    for path, name in (
        (url.path, user),
        (url.path, "cheryl@b.example"),
        (url.path, "cheryl"),
        (url.path[:-4] + "aaaa", user),
        (url.path[:-4] + "aaaa", "cheryl"),
    ):
        compared.clear()
        with asked(world.a.agent) as found:
            assert call(world.a, path, authorization=basic(name, "x" * 32)).status_int == 401
        assert len(compared) == 1
        seen.append(found.statements)
    assert len(seen[0]) == 1
    assert all(one == seen[0] for one in seen), seen


def test_what_is_handed_in_asks_for_nothing_twice(sqlite_world: World):
    sqlite_world.inject()
    with asked(sqlite_world.a.agent) as found:
        assert sqlite_world.inject(MESSAGE + b"another").status_int == 201
    # The failed log-ins with the account; her choice of sealing; all else in one transaction.
    assert found.transactions == 3, found.statements
    assert len(found.statements) == 9, found.statements
    assert len(set(found.statements)) == 9, "nothing is asked for twice"


def test_recipients_of_our_own_are_asked_for_at_once(sqlite_world: World):
    sqlite_world.inject()

    def statements(count: int) -> int:
        for number in range(count):
            address = Endpoint.parse(f"user{number}.of{count}@a.example")
            sqlite_world.a.agent.accounts.add(address, None)
        to = "&".join(f"to=user{number}.of{count}@a.example" for number in range(count))
        with asked(sqlite_world.a.agent) as found:
            answer = sqlite_world.inject(MESSAGE + b"%d" % count, query=f"?{to}")
        assert (answer.status_int, len(answer.json["recipients"])) == (201, count)
        return len(found.statements)

    assert statements(1) == statements(30) == 10


def test_a_long_list_of_recipients_is_looked_up_whole(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(named_recipients, "AT_ONCE", 2)
    for number in range(5):
        sqlite_world.a.agent.accounts.add(Endpoint.parse(f"user{number}@a.example"), None)
    to = [f"user{number}@a.example" for number in range(7)]
    answer = sqlite_world.inject(query="?" + "&".join(f"to={one}" for one in to))
    assert answer.status_int == 422
    assert answer.json["recipients"] == dict.fromkeys(to[5:], "a.example has no such user")
    answer = sqlite_world.inject(query="?" + "&".join(f"to={one}" for one in to[:5]))
    assert [one["address"] for one in answer.json["recipients"]] == to[:5]


def test_a_conversation_is_found_without_going_through_all_that_was_sent(sqlite_world: World):
    sqlite_world.inject()
    database = sqlite_world.a.agent.database
    with asked(sqlite_world.a.agent) as found:
        outbox.conversation(database, ALICE, "a thread", 10)
    with database.reading() as connection:
        statement = found.statements[0]
        values = (1,) * statement.count("?")
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    assert any("ix_message_thread" in row.detail for row in plan), plan


def test_what_is_due_is_found_without_going_through_all_that_was_told(sqlite_world: World):
    sqlite_world.inject()
    database = sqlite_world.a.agent.database
    with asked(sqlite_world.a.agent) as found:
        assert sqlite_world.notify().notified == 1
    due = [one for one in found.statements if "delivery" in one and "next_try_at <=" in one]
    assert len(due) >= 2, "which domains, and which entries of one"
    for statement in due:
        with database.reading() as connection:
            values = (1,) * statement.count("?")
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        told = [row.detail for row in plan]
        assert any("ix_delivery_due" in one for one in told), told
        if statement.startswith("UPDATE"):
            assert not any("ORDER BY" in one for one in told), "they are in their order there"


@pytest.mark.parametrize("policy", ["never", "known"])
def test_a_message_that_says_how_it_is_sealed_asks_for_no_choice(sqlite_world: World, policy: str):
    with asked(sqlite_world.a.agent) as found:
        answer = sqlite_world.inject(query=f"?seal={policy}&subject=inside")
        assert answer.status_int == 201
    assert not [one for one in found.statements if "FROM preference" in one]


def test_a_short_answer_is_laid_out_for_people_and_a_long_one_is_not():
    short = json_response(200, {"recipients": ["bob@b.example"]})
    long = json_response(200, {"recipients": ["böb@b.example"] * 1000})
    assert short.text == '{\n  "recipients": [\n    "bob@b.example"\n  ]\n}\n'
    assert long.text.count("\n") == 1
    assert long.json == {"recipients": ["böb@b.example"] * 1000}
