"""The promises of letters: every recipient is told what he was told when each was made alone."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, insert, update

from tests.world import World
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.notification import Notification, encode, header_block_for
from xhmtp_wsgi.sender import letters
from xhmtp_wsgi.sender.letters import Letters, letter_of
from xhmtp_wsgi.sender.queue import Claim
from xhmtp_wsgi.sender.tables import messages, representations


@dataclass
class Row:
    """A message's row."""

    header: bytes
    sender: str = "alice@a.example"
    size: int = 17
    digest: bytes = b"d" * 32
    expires_at: float = 1.8e9
    alias: str | None = None
    sealed: str | None = None


def url(recipient: Endpoint) -> MessageURL:
    return MessageURL("https", "server.a.example", None, recipient, "c+/d e", "/xhmtp/alice/ID")


def alone(row: Row, recipient: Endpoint) -> bytes:
    header = header_block_for(
        scan(row.header.removesuffix(b"\r\n"), 10**6),
        size=row.size,
        digest=row.digest,
        expires=datetime.fromtimestamp(row.expires_at, UTC),
        recipient=recipient,
    )
    return encode(url(recipient), header)


@given(
    st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1, max_size=200),
    st.sampled_from([1, 300, 2000]),
    st.sampled_from(["bob@b.example", "x%y+z@b.example"]),
)
def test_a_form_of_ready_parts_is_the_form_made_alone(subject: str, recipients: int, bob: str):
    to = ",\r\n ".join(f"u{number}@b.example" for number in range(recipients))
    header = f"From: alice@a.example\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n".encode()
    row, recipient = Row(header), Endpoint.parse(bob)
    form = letter_of(row, row).form(url(recipient))
    assert form == alone(row, recipient)
    assert Notification.parse(form, recipient=recipient).url == url(recipient)


def test_of_a_long_to_nothing_is_kept():
    to = ",\r\n ".join(f"u{number}@b.example" for number in range(10_000))
    row = Row(f"From: alice@a.example\r\nTo: {to}\r\n\r\n".encode())
    letter = letter_of(row, row)
    assert sum(len(part) for part in letter.header) < 1000
    assert b"u7%40b" in letter.form(url(Endpoint.parse("u7@b.example")))
    assert b"u8%40b" not in letter.form(url(Endpoint.parse("u7@b.example")))


def test_who_writes_without_from_is_anonymous():
    assert letter_of(Row(b"Subject: x\r\n\r\n"), Row(b"Subject: x\r\n\r\n")).is_anonymous
    row = Row(b"from: a@a.example\r\n\r\n")
    assert not letter_of(row, row).is_anonymous


def claim(message: str, representation: int = 0) -> Claim:
    bob = Endpoint.parse("bob@b.example")
    return Claim(1, message, bob, "code", 1, 0.0, representation=representation)


def injected(world: World, count: int) -> list[str]:
    made = []
    for number in range(count):
        text = f"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: n{number}\r\n\r\nx\r\n"
        made.append(world.inject(text.encode()).headers["Location"].rpartition("/")[2])
    return made


def test_the_letters_of_a_batch_are_read_in_one_statement(sqlite_world: World):
    identifiers = injected(sqlite_world, 5)
    database = sqlite_world.a.agent.database
    asked: list[str] = []
    event.listen(
        database.engine(), "before_cursor_execute",
        lambda _c, _cursor, statement, *_: asked.append(statement),
    )  # fmt: skip
    kept = Letters(database)
    kept.prepare([claim(identifier) for identifier in identifiers])
    subjects = [kept.of(claim(identifier)).header[0] for identifier in identifiers]
    assert [f"n{number}%0D" in subject for number, subject in enumerate(subjects)] == [True] * 5
    assert len([one for one in asked if one.startswith("SELECT")]) == 1


def test_each_is_told_of_his_own_representation(sqlite_world: World):
    one, other = injected(sqlite_world, 2)
    database = sqlite_world.a.agent.database
    with database.transaction() as connection:
        for message, number in ((one, 1), (one, 2), (other, 2)):
            connection.execute(
                insert(representations).values(
                    message=message, number=number, first_piece=1, size=number,
                    header=f"Subject: {message} {number}\r\n\r\n".encode(), digest=b"d" * 32,
                )
            )  # fmt: skip
    kept = Letters(database)
    wanted = [claim(one, 2), claim(other, 2), claim(one), claim(one, 1)]
    kept.prepare(wanted)
    told = [kept.of(each).header[0] for each in wanted]
    assert f"{one}+2" in told[0]
    assert f"{other}+2" in told[1]
    assert "Subject%3A+n0" in told[2]
    assert f"{one}+1" in told[3]
    assert "Content-Length%3A+1%0D" in told[3]
    with pytest.raises(LookupError):
        kept.of(claim(other, 1))


def test_what_was_let_go_is_read_again(sqlite_world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(letters, "OCTETS_KEPT", 2000)
    identifiers = injected(sqlite_world, 6)
    kept = Letters(sqlite_world.a.agent.database)
    kept.prepare([claim(identifier) for identifier in identifiers])
    assert kept._octets <= 2000
    for number, identifier in enumerate(identifiers):
        assert f"n{number}%0D" in kept.of(claim(identifier)).header[0]


def test_a_header_that_cannot_be_read_stops_no_other(sqlite_world: World):
    bad, good = injected(sqlite_world, 2)
    with sqlite_world.a.agent.database.transaction() as connection:
        connection.execute(update(messages).where(messages.c.id == bad).values(header=b"\0"))
    report = sqlite_world.notify()
    assert (report.notified, report.deferred) == (1, 1)
    assert good
