"""The keys that a sender's messages are sealed to: fetched, kept for a while, remembered for good.

The first list that was seen for an address (fetched_keys.py) is remembered for each sender; a key
that was not in it is used only where she accepts it. Keys that go away are no reason to ask, and
stay known.

Security: whatever is not as it should be is a problem, told in words that the sender is to read
before anything is sent; nothing older is used in its place.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Double, Table, Text, delete, select

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.errors import (
    Forbidden,
    MalformedSignature,
    NotFound,
    SignatureInvalid,
    XHMTPError,
)
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.protocol.sealing import Recipient
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.sender.fetched_keys import Keys, fetch_keys, parsed, written

MOST_SHOWN = 3  # fingerprints in one sentence

known_sealing_keys = Table(
    "known_sealing_key",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("recipients", Text, nullable=False),
    Column("first_seen_at", Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class RecipientKeys:
    """What an address's part of a message is sealed to.

    ``problem``: why no key is usable, a sentence; empty where ``recipients`` are. ``is_new``: seen
    for the first time; ``changed``: what has changed since, also where that was accepted;
    ``known_since``: since when the remembered keys are (seconds since the epoch), None without any.
    """

    endpoint: Endpoint
    recipients: tuple[Recipient, ...] = ()
    problem: str = ""
    is_new: bool = False
    changed: str = ""
    known_since: float | None = None


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The keys of an address that are remembered."""

    address: Endpoint
    recipients: tuple[Recipient, ...]
    first_seen_at: float


def keys_for(
    agent: Agent,
    sender: Endpoint,
    recipients: Sequence[Endpoint],
    *,
    within: float,
    accept_new: bool = False,
    remember: bool = True,
) -> dict[Endpoint, RecipientKeys]:
    """The keys of each recipient, or why there are none; ``within`` so many seconds.

    ``accept_new``: also keys that were not known of an address, which are remembered in place of
    the others. Without ``remember`` nothing is taken as known; lists that were fetched are still
    kept as long as they are good, so that what is sent next is sealed to what was shown. Raises a
    Transient error where the database cannot be used.
    """
    found = fetch_keys(agent, recipients, within)
    with agent.database.reading() as connection:
        known = _known(connection, sender, recipients)
    judged = {
        endpoint: _judged(endpoint, found[endpoint], known.get(_name(endpoint)), accept_new)
        for endpoint in dict.fromkeys(recipients)
    }
    if remember:
        _remember(agent.database, sender, judged, agent.clock())
    return judged


def known(database: Database, owner: Endpoint) -> list[KnownKeys]:
    """The keys that are remembered for a sender, by address."""
    with database.reading() as connection:
        rows = connection.execute(
            select(known_sealing_keys)
            .where(known_sealing_keys.c.owner == _name(owner))
            .order_by(known_sealing_keys.c.address)
        ).all()
    return [_known_keys(row) for row in rows]


def forget(database: Database, owner: Endpoint, address: Endpoint) -> None:
    """Forgets the keys of an address: the next list is its first again. Raises NotFound."""
    with database.transaction() as connection:
        gone = connection.execute(
            delete(known_sealing_keys).where(
                known_sealing_keys.c.owner == _name(owner),
                known_sealing_keys.c.address == _name(address),
            )
        )
    if not gone.rowcount:
        raise NotFound(f"no keys of {address} are known")


def forget_all(database: Database, owner: Endpoint) -> None:
    """Forgets all keys that are remembered for a sender, whose account is removed."""
    with database.transaction() as connection:
        connection.execute(
            delete(known_sealing_keys).where(known_sealing_keys.c.owner == _name(owner))
        )


def _judged(
    endpoint: Endpoint, found: Keys | XHMTPError, known: KnownKeys | None, accept_new: bool
) -> RecipientKeys:
    """What is to be made of a list, by what is remembered."""
    since = None if known is None else known.first_seen_at
    if isinstance(found, XHMTPError):
        return RecipientKeys(endpoint, problem=_why(endpoint, found), known_since=since)
    if known is None:
        if not found:
            return RecipientKeys(endpoint, problem=f"{endpoint} publishes no key to seal to")
        return RecipientKeys(endpoint, found, is_new=True)
    day = datetime.fromtimestamp(known.first_seen_at, UTC).date().isoformat()
    if not found:
        problem = (
            f"{endpoint} publishes no key any more; "
            f"known since {day} {_is(known.recipients)} {_listed(known.recipients)}"
        )
        return RecipientKeys(endpoint, problem=problem, known_since=since)
    strangers = [recipient for recipient in found if recipient not in known.recipients]
    if not strangers:
        return RecipientKeys(endpoint, found, known_since=since)
    changed = (
        f"the keys of {endpoint} have changed since {day}: {_listed(strangers)} "
        f"{_was(strangers)} not there then, known {_was(known.recipients)} "
        f"{_listed(known.recipients)}"
    )
    if accept_new:
        return RecipientKeys(endpoint, found, changed=changed, known_since=since)
    problem = f"{changed}; ask him by another way"
    return RecipientKeys(endpoint, problem=problem, changed=changed, known_since=since)


def _why(endpoint: Endpoint, error: XHMTPError) -> str:
    refused = isinstance(error, SignatureInvalid | MalformedSignature | Forbidden)
    return f"the keys of {endpoint} are not to be {'trusted' if refused else 'had'}: {error}"


def _remember(
    database: Database, sender: Endpoint, judged: dict[Endpoint, RecipientKeys], now: float
) -> None:
    """Writes down what is used for the first time, or was accepted; amends ``judged``."""
    to_write = [one for one in judged.values() if one.recipients and (one.is_new or one.changed)]
    if not to_write:
        return
    with database.transaction() as connection:
        for one in sorted(to_write, key=lambda one: _name(one.endpoint)):
            values = {"recipients": written(one.recipients), "first_seen_at": now}
            statement = insert_or(connection, known_sealing_keys).values(
                owner=_name(sender), address=_name(one.endpoint), **values
            )
            if one.changed:
                place = [known_sealing_keys.c.owner, known_sealing_keys.c.address]
                connection.execute(
                    statement.on_conflict_do_update(index_elements=place, set_=values)
                )
                continue
            first = statement.on_conflict_do_nothing().returning(known_sealing_keys.c.address)
            if connection.execute(first).first() is None:
                # Another message of hers was first, perhaps with other keys.
                there = _known(connection, sender, [one.endpoint]).get(_name(one.endpoint))
                judged[one.endpoint] = _judged(one.endpoint, one.recipients, there, False)


def _known(
    connection: Connection, sender: Endpoint, addresses: Iterable[Endpoint]
) -> Mapping[str, KnownKeys]:
    """What is remembered for a sender of these addresses."""
    rows = connection.execute(
        select(known_sealing_keys).where(
            known_sealing_keys.c.owner == _name(sender),
            known_sealing_keys.c.address.in_({_name(address) for address in addresses}),
        )
    ).all()
    return {row.address: _known_keys(row) for row in rows}


def _known_keys(row: Any) -> KnownKeys:
    return KnownKeys(Endpoint.parse(row.address), parsed(row.recipients), row.first_seen_at)


def _name(endpoint: Endpoint) -> str:
    return str(endpoint.canonical)


def _listed(recipients: Sequence[Recipient]) -> str:
    shown = ", ".join(map(fingerprint, recipients[:MOST_SHOWN]))
    left = len(recipients) - MOST_SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def _is(recipients: Sequence[Recipient]) -> str:
    return "is" if len(recipients) == 1 else "are"


def _was(recipients: Sequence[Recipient]) -> str:
    return "was" if len(recipients) == 1 else "were"
