"""Keys that are held, and what was found in sealed messages, as JSON has them (docs/moving.md).

Both are encrypted, and go as they are kept: with his password a key of its owner's is opened at the
other host, and with that key what was found of his messages.

Security: of an export nothing is taken for a held key but an age file that a password opens: a
secret key in the clear is refused, and so is one that would take all memory to open.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.errors import Malformed, MalformedSeal
from xhmtp_wsgi.protocol.access_code import is_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Recipient
from xhmtp_wsgi.protocol.sealing.header import FILE_KEY, Stanza, read_header
from xhmtp_wsgi.protocol.sealing.piece_reader import PieceReader
from xhmtp_wsgi.protocol.sealing.wrapping import SCRYPT
from xhmtp_wsgi.recipient.held_keys import MOST_HELD, WORK_FACTOR, held_keys
from xhmtp_wsgi.recipient.sealed_extracts import sealed_extracts
from xhmtp_wsgi.recipient.tables import mailboxes, notices
from xhmtp_wsgi.row_json import RowForm

HELD_KEY = RowForm(held_keys, without={"owner"})
EXTRACT = RowForm(sealed_extracts)
MOST_SEALED = 4096  # octets of a held key: it takes some 300
MOST_EXTRACT = 2 << 20  # octets; larger ones are left behind, and written anew
_FACTORS = frozenset(map(str, range(1, WORK_FACTOR + 1)))
_SALT = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]")  # 16 octets
AT_ONCE = 10  # extracts


def held_key_owners(connection: Connection) -> set[str]:
    """Everybody of whom a key is held."""
    return set(connection.execute(select(held_keys.c.owner).distinct()).scalars())


def held_keys_of(connection: Connection, owner: Endpoint) -> list[dict[str, Any]]:
    """The keys of somebody's that are held, each sealed with his password."""
    found = connection.execute(
        select(held_keys)
        .where(held_keys.c.owner == str(owner.canonical))
        .order_by(held_keys.c.added_at, held_keys.c.recipient)
    )
    return [HELD_KEY.encode(row) for row in found]


def take_held_keys(
    connection: Connection, owner: Endpoint, given: Sequence[Mapping[str, Any]]
) -> None:
    """Holds those that are not held here. Raises Malformed, also above MOST_HELD."""
    for fields in given:
        values = HELD_KEY.decode(fields)
        if str(Recipient.parse(values["recipient"])) != values["recipient"]:
            raise Malformed(f"a key of {owner} that is held is not written as keys are kept")
        if not _only_a_password_opens(values["sealed"]):
            raise Malformed(f"a key of {owner} that is held is not sealed with a password")
        connection.execute(
            insert_or(connection, held_keys)
            .values(owner=str(owner), **values)
            .on_conflict_do_nothing()
        )
    count = select(func.count()).select_from(held_keys).where(held_keys.c.owner == str(owner))
    held = connection.execute(count).scalar_one()
    if held > MOST_HELD:
        raise Malformed(f"{held} keys of {owner} would be held, and {MOST_HELD} may be")


def _only_a_password_opens(octets: bytes) -> bool:
    """Is it an age file of scrypt's, with no more work than we make it?"""
    if len(octets) > MOST_SEALED:
        return False
    try:
        stanzas = read_header(PieceReader([octets])).stanzas
    except MalformedSeal:
        return False
    match stanzas:
        case (Stanza(arguments=(kind, salt, factor), body=body),):
            return (
                kind == SCRYPT
                and _SALT.fullmatch(salt) is not None
                and factor in _FACTORS
                and len(body) == FILE_KEY + 16
            )
    return False


def extracts_of(connection: Connection, owner: Endpoint) -> Iterator[dict[str, Any]]:
    """What was found in his sealed messages, encrypted with his key."""
    last = ""
    while True:
        found = connection.execute(
            select(sealed_extracts)
            .join(notices, notices.c.id == sealed_extracts.c.notice)
            .join(mailboxes)
            .where(
                mailboxes.c.address == str(owner.canonical),
                sealed_extracts.c.notice > last,
                func.length(sealed_extracts.c.octets) <= MOST_EXTRACT,
            )
            .order_by(sealed_extracts.c.notice)
            .limit(AT_ONCE)
        ).all()
        yield from map(EXTRACT.encode, found)
        if len(found) < AT_ONCE:
            return
        last = found[-1].notice


def checked_extracts(given: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Their rows. Raises Malformed."""
    for fields in given:
        values = EXTRACT.decode(fields)
        if not is_identifier(values["notice"]) or len(values["octets"]) > MOST_EXTRACT:
            raise Malformed("what was found in a sealed message is of none, or too much")
        yield values


def take_extracts(
    connection: Connection, owner: Endpoint, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Adds those of his notices that are here and have none. ``rows``: checked."""
    for row in rows:
        his = (
            select(notices.c.id)
            .join(mailboxes)
            .where(
                mailboxes.c.address == str(owner),
                notices.c.id == row["notice"],
                notices.c.deleted_at.is_(None),
            )
        )
        if connection.execute(his).first() is not None:
            connection.execute(
                insert_or(connection, sealed_extracts).values(**row).on_conflict_do_nothing()
            )
