"""What somebody has sent elsewhere, taken into this outbox: for `xhmtp import` (docs/moving.md).

IDs and hashes of access codes stay, so that links that were given out go on working. What is here
already stays as it is, but for what happened elsewhere since: who was told there is not told again,
and what was withdrawn there is withdrawn.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from xhmtp_wsgi import search
from xhmtp_wsgi.errors import Duplicate, Malformed, SettingsError, XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.status import WAITING, State
from xhmtp_wsgi.sender.imported_author import require_own_from
from xhmtp_wsgi.sender.imported_message import CheckedMessage, Outbox
from xhmtp_wsgi.sender.imported_recipients import checked_recipients
from xhmtp_wsgi.sender.outbox import SEARCH_KIND, note_emptied
from xhmtp_wsgi.sender.storing import SEARCHED
from xhmtp_wsgi.sender.tables import deliveries, messages, pieces, representations
from xhmtp_wsgi.sender.usage import charge


@dataclass(slots=True)
class Taken:
    """What became of them. ``waiting``: recipients who will be told by this host."""

    added: int = 0
    known: int = 0
    changed: int = 0
    waiting: int = 0


def take_message(
    connection: Connection,
    outbox: Outbox,
    message: CheckedMessage,
    recipients: Iterable[Mapping[str, Any]],
    taken: Taken,
) -> None:
    """Adds a message, or what is new of one that is here; in the caller's transaction.

    Raises Malformed, Duplicate where the ID is another message's, or SettingsError.
    """
    rows = list(checked_recipients(outbox, message, recipients))
    here = connection.execute(
        select(messages).where(messages.c.id == message.identifier).with_for_update()
    ).one_or_none()
    if here is not None:
        taken.known += 1
        _take_news(connection, outbox, here, message, rows, taken)
        return
    if _was_sent_again(connection, message) and all(row["state"] in WAITING for row in rows):
        # Nobody knows of this one; the other one is told.
        taken.known += 1
        return
    sender, is_report = Endpoint.parse(message.values["sender"]), message.values["is_report"]
    try:
        require_own_from(connection, sender, message.preamble, is_report=is_report)
    except XHMTPError as error:
        raise Malformed(f"the message {message.identifier}: {error}") from None
    connection.execute(insert(messages).values(**message.values))
    _add_octets(connection, message)
    _charge(connection, outbox, message)
    _make_found(connection, outbox.owner, message)
    taken.waiting += sum(row["state"] in WAITING for row in rows)
    if rows:
        connection.execute(insert(deliveries), rows)
    taken.added += 1


def _add_octets(connection: Connection, message: CheckedMessage) -> None:
    """Stores all its representations, one behind the other, as injection does."""
    next_piece = 0
    for one in message.representations:
        if one.number:
            connection.execute(
                insert(representations).values(
                    message=one.message,
                    number=one.number,
                    first_piece=next_piece,
                    header=one.header,
                    digest=one.digest,
                    size=one.size,
                    sealed=one.sealed,
                )
            )
        for octets in one.pieces():
            connection.execute(
                insert(pieces).values(message=one.message, number=next_piece, octets=octets)
            )
            next_piece += 1


def _was_sent_again(connection: Connection, message: CheckedMessage) -> bool:
    """Has its sender handed it in here too, as where no answer came from the other host?

    Then the one here has the Message-ID, and this one is kept for the links that were given out.
    """
    values = message.values
    other = connection.execute(
        select(messages.c.id).where(
            messages.c.sender == values["sender"], messages.c.message_id == values["message_id"]
        )
    ).first()
    if other is not None:
        values["message_id"] = f"{values['message_id']} {message.identifier}"
    return other is not None


def _make_found(connection: Connection, owner: Endpoint, message: CheckedMessage) -> None:
    """Search finds it, as after injection: a sealed one by what is outside."""
    if message.values["is_report"]:
        return
    fields = {one.name.lower(): one.value for one in message.preamble.fields}
    words = " ".join(display(fields[name]) for name in SEARCHED if fields.get(name))
    search.put(connection, owner, SEARCH_KIND, message.identifier, words)


def _charge(connection: Connection, outbox: Outbox, message: CheckedMessage) -> None:
    if not message.has_octets or message.values["is_report"]:
        return
    most = outbox.settings.max_storage
    if charge(connection, outbox.owner, message.kept) > most:
        raise SettingsError("max_storage", f"the messages of {outbox.owner} have more octets")


def _take_news(
    connection: Connection,
    outbox: Outbox,
    here: Row[Any],
    message: CheckedMessage,
    rows: Iterable[Mapping[str, Any]],
    taken: Taken,
) -> None:
    """Of a message that is here: was it withdrawn elsewhere, and who was told there since?"""
    values = message.values
    if here.sender != values["sender"] or _digests(connection, here) != [
        one.digest for one in message.representations
    ]:
        raise Duplicate(f"another message here has the ID {message.identifier}")
    for one in message.representations:
        for _ in one.pieces():
            pass  # compared all the same: what was changed is refused
    if values["withdrawn_at"] is not None and here.withdrawn_at is None:
        _withdraw(connection, message.identifier, values["withdrawn_at"])
        taken.changed += 1
    found = connection.execute(
        select(
            deliveries.c.id,
            deliveries.c.recipient,
            deliveries.c.state,
            deliveries.c.next_try_at,
            deliveries.c.fetched_at,
            deliveries.c.representation,
        ).where(deliveries.c.message == message.identifier)
    )
    known = {row.recipient: row for row in found}
    for row in rows:
        if row["recipient"] not in known:
            raise Duplicate(f"the message {message.identifier} has other recipients here")
        if row["representation"] != known[row["recipient"]].representation:
            raise Duplicate(f"the message {message.identifier} has other octets for some here")
        changes = _news(known[row["recipient"]], row, outbox.now)
        if changes:
            is_back = changes.get("next_try_at") is not None
            taken.waiting += is_back
            taken.changed += not is_back
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == known[row["recipient"]].id)
                .values(**changes)
            )


def _digests(connection: Connection, here: Row[Any]) -> list[bytes]:
    """Those of all representations that are here."""
    further = connection.execute(
        select(representations.c.digest)
        .where(representations.c.message == here.id)
        .order_by(representations.c.number)
    )
    return [here.digest, *further.scalars()]


def _news(here: Any, there: Mapping[str, Any], now: float) -> dict[str, Any]:
    """What is to be changed here; whoever is further on the way is right."""
    if here.state in WAITING and there["state"] not in WAITING:
        return {**there, "lease_owner": None, "lease_until": None}
    if here.state in WAITING:
        # Left to another host, which now gives it back.
        return {"next_try_at": now, "last_answer": None} if here.next_try_at is None else {}
    if here.fetched_at is None and there["fetched_at"] is not None:
        state = State.FETCHED if here.state == State.NOTIFIED else here.state
        return {"fetched_at": there["fetched_at"], "state": state}
    return {}


def _withdraw(connection: Connection, identifier: str, when: float) -> None:
    """As outbox.withdraw does, in the caller's transaction."""
    note_emptied(connection, identifier, when)
    connection.execute(
        update(messages).where(messages.c.id == identifier).values(withdrawn_at=when)
    )
    connection.execute(delete(pieces).where(pieces.c.message == identifier))
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.message == identifier,
            deliveries.c.state.not_in((State.REFUSED, State.EXPIRED)),
        )
        .values(state=State.WITHDRAWN, next_try_at=None, code=None)
    )
