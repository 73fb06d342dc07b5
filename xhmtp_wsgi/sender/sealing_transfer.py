"""Keys that messages are sealed to, as JSON has them, and taken from there (docs/moving.md).

Those that its owner publishes, age's and OpenPGP's, and those of others that she knows. What is
published here stays as it is: one that was taken back since does not come again beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.openpgp_key import OpenPGPKey
from xhmtp_wsgi.protocol.published_keys import MOST_SEALING
from xhmtp_wsgi.protocol.sealing import Recipient
from xhmtp_wsgi.row_json import RowForm
from xhmtp_wsgi.sender.fetched_keys import parsed, written
from xhmtp_wsgi.sender.openpgp_keys import openpgp_keys
from xhmtp_wsgi.sender.recipient_keys import known_sealing_keys
from xhmtp_wsgi.sender.sealing_keys import MOST_KEYS, sealing_keys

SEALING_KEY = RowForm(sealing_keys, without={"address"})
OPENPGP_KEY = RowForm(openpgp_keys, without={"address"})
KNOWN_SEALING_KEY = RowForm(known_sealing_keys, without={"owner"})


def sealing_key_owners(connection: Connection) -> set[str]:
    """Everybody who publishes such a key, or knows those of others."""
    columns = (sealing_keys.c.address, openpgp_keys.c.address, known_sealing_keys.c.owner)
    return {
        owner
        for column in columns
        for owner in connection.execute(select(column).distinct()).scalars()
    }


def sealing_keys_of(connection: Connection, owner: Endpoint) -> list[dict[str, Any]]:
    """The public keys that messages to her are sealed to."""
    found = connection.execute(
        select(sealing_keys)
        .where(sealing_keys.c.address == str(owner.canonical))
        .order_by(sealing_keys.c.added_at, sealing_keys.c.recipient)
    )
    return [SEALING_KEY.encode(row) for row in found]


def take_sealing_keys(
    connection: Connection, owner: Endpoint, given: Sequence[Mapping[str, Any]]
) -> None:
    """Publishes them, where she publishes none here. Raises Malformed."""
    rows = [SEALING_KEY.decode(fields) for fields in given]
    kinds = {_recipient(owner, row["recipient"]).kind for row in rows}
    if len(rows) > MOST_KEYS or len(kinds) > 1:
        raise Malformed(f"{owner} has more keys to seal to than {MOST_KEYS}, or of two kinds")
    _take_where_none(connection, sealing_keys, owner, rows)


def openpgp_keys_of(connection: Connection, owner: Endpoint) -> list[dict[str, Any]]:
    """Her OpenPGP key, if she publishes one."""
    found = connection.execute(
        select(openpgp_keys).where(openpgp_keys.c.address == str(owner.canonical))
    )
    return [OPENPGP_KEY.encode(row) for row in found]


def take_openpgp_keys(
    connection: Connection, owner: Endpoint, given: Sequence[Mapping[str, Any]]
) -> None:
    """Publishes it, where she publishes none here. Raises Malformed, also for a secret key."""
    rows = [OPENPGP_KEY.decode(fields) for fields in given]
    if len(rows) > 1:
        raise Malformed(f"{owner} publishes one OpenPGP key, and no more")
    for row in rows:
        key = OpenPGPKey.parse(row["octets"])
        if key.octets != row["octets"] or not key.is_of(owner):
            raise Malformed(f"the OpenPGP key of {owner} is not hers, or not as keys are kept")
    _take_where_none(connection, openpgp_keys, owner, rows)


def known_sealing_keys_of(connection: Connection, owner: Endpoint) -> list[dict[str, Any]]:
    """The keys of others that she has sealed to, by address."""
    found = connection.execute(
        select(known_sealing_keys)
        .where(known_sealing_keys.c.owner == str(owner.canonical))
        .order_by(known_sealing_keys.c.address)
    )
    return [KNOWN_SEALING_KEY.encode(row) for row in found]


def take_known_sealing_keys(
    connection: Connection, owner: Endpoint, given: Sequence[Mapping[str, Any]]
) -> None:
    """Adds those of addresses that are not known here. Raises Malformed."""
    for fields in given:
        values = KNOWN_SEALING_KEY.decode(fields)
        address, text = Endpoint.parse(values["address"]), values["recipients"]
        if (
            str(address.canonical) != values["address"]
            or text.count("\n") >= MOST_SEALING
            or not text
            or written(parsed(text)) != text
        ):
            raise Malformed(f"keys that {owner} knows are not written as keys are kept")
        connection.execute(
            insert_or(connection, known_sealing_keys)
            .values(owner=str(owner), **values)
            .on_conflict_do_nothing()
        )


def _recipient(owner: Endpoint, text: str) -> Recipient:
    recipient = Recipient.parse(text)
    if str(recipient) != text:
        raise Malformed(f"a key of {owner} is not written as keys are kept")
    return recipient


def _take_where_none(
    connection: Connection, table: Table, owner: Endpoint, rows: Sequence[Mapping[str, Any]]
) -> None:
    here = select(table.c.address).where(table.c.address == str(owner)).limit(1)
    if connection.execute(here).first() is not None:
        return
    for row in rows:
        # A key that is there twice is one.
        connection.execute(
            insert_or(connection, table).values(address=str(owner), **row).on_conflict_do_nothing()
        )
