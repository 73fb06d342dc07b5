"""What the sender's wing knows of keys and of TLS, as JSON has it, and taken from there.

An author's keys are hers; which domains were reached over TLS is the agent's (docs/moving.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.hostname import parse_hostname
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.row_json import RowForm
from xhmtp_wsgi.sender.author_keys import MOST_KEYS, author_keys
from xhmtp_wsgi.sender.target_trust import tls_domains

AUTHOR_KEY = RowForm(author_keys, without={"address"})
TLS_DOMAIN = RowForm(tls_domains)


def key_owners(connection: Connection) -> set[str]:
    """Everybody who signs."""
    return set(connection.execute(select(author_keys.c.address).distinct()).scalars())


def author_keys_of(connection: Connection, owner: Endpoint) -> list[dict[str, Any]]:
    """The public keys that she signs with."""
    found = connection.execute(
        select(author_keys)
        .where(author_keys.c.address == str(owner.canonical))
        .order_by(author_keys.c.added_at, author_keys.c.line)
    )
    return [AUTHOR_KEY.encode(row) for row in found]


def take_author_keys(
    connection: Connection, owner: Endpoint, given: Sequence[Mapping[str, Any]]
) -> None:
    """Adds those that are not here. Raises Malformed, also above MOST_KEYS."""
    for fields in given:
        values = AUTHOR_KEY.decode(fields)
        if PublicKey.parse(values["line"]).line() != values["line"]:
            raise Malformed(f"a key of {owner} is not written as keys are kept")
        connection.execute(
            insert_or(connection, author_keys)
            .values(address=str(owner), **values)
            .on_conflict_do_nothing()
        )
    count = select(func.count()).select_from(author_keys)
    kept = connection.execute(count.where(author_keys.c.address == str(owner))).scalar_one()
    if kept > MOST_KEYS:
        raise Malformed(f"{owner} would have {kept} keys, and may have {MOST_KEYS}")


def tls_domains_known(connection: Connection) -> list[dict[str, Any]]:
    """The domains that were reached over TLS, and are not to be spoken to in clear."""
    found = connection.execute(select(tls_domains).order_by(tls_domains.c.domain))
    return [TLS_DOMAIN.encode(row) for row in found]


def take_tls_domains(
    connection: Connection, given: Sequence[Mapping[str, Any]], now: float
) -> None:
    """Remembers them as well; of two times the later one. Raises Malformed."""
    for fields in given:
        values = TLS_DOMAIN.decode(fields)
        domain, seen_at = parse_hostname(values["domain"]), min(values["seen_at"], now)
        seen = select(tls_domains.c.seen_at).where(tls_domains.c.domain == domain)
        here = connection.execute(seen).scalar()
        if here is None:
            connection.execute(insert(tls_domains).values(domain=domain, seen_at=seen_at))
        elif here < seen_at:
            connection.execute(
                update(tls_domains).where(tls_domains.c.domain == domain).values(seen_at=seen_at)
            )
