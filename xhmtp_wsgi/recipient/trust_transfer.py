"""Filters, and the keys of known authors, as JSON has them, and taken from there (docs/moving.md).

What is here stays: a key that was seen first here is not changed by a file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.recipient.filters import MAX_PATTERN, Action, parse_who, rules
from xhmtp_wsgi.recipient.reading import known_authors
from xhmtp_wsgi.row_json import RowForm, harmless

RULE = RowForm(rules, without={"id", "owner"}, signed={"position"})
KNOWN_AUTHOR = RowForm(known_authors, without={"owner"})
_SAME = ("action", "who", "header", "pattern")


def rule_owners(connection: Connection) -> set[str]:
    """All domains and addresses that have filters, and the addresses that know authors."""
    return {
        *connection.execute(select(rules.c.owner).distinct()).scalars(),
        *connection.execute(select(known_authors.c.owner).distinct()).scalars(),
    }


def rules_of(connection: Connection, owner: str) -> list[dict[str, Any]]:
    """The filters of a domain or of a user, in their order."""
    found = connection.execute(
        select(rules).where(rules.c.owner == owner).order_by(rules.c.position, rules.c.id)
    )
    return [RULE.encode(row) for row in found]


def take_rules(connection: Connection, owner: str, given: Sequence[Mapping[str, Any]]) -> None:
    """Adds those that are not here. Raises Malformed."""
    found = connection.execute(select(rules).where(rules.c.owner == owner))
    here = {tuple(row._mapping[name] for name in _SAME) for row in found}
    for fields in given:
        values = RULE.decode(fields)
        _check_rule(values)
        same = tuple(values[name] for name in _SAME)
        if same not in here:
            connection.execute(insert(rules).values(owner=owner, **values))
            here.add(same)


def _check_rule(values: Mapping[str, Any]) -> None:
    header, pattern = values["header"], values["pattern"]
    if (
        values["action"] not in list(Action)
        or parse_who(values["who"]) != values["who"]
        or (header is None) != (pattern is None)
        or (header is not None and header != (harmless(header) or "").lower())
        or not (pattern is None or 0 < len(pattern) <= MAX_PATTERN)
    ):
        raise Malformed("a filter is not written as filters are kept")


def authors_known_to(connection: Connection, owner: Endpoint) -> list[dict[str, Any]]:
    """The keys of those whose signed messages he has read."""
    found = connection.execute(
        select(known_authors)
        .where(known_authors.c.owner == str(owner.canonical))
        .order_by(known_authors.c.author)
    )
    return [KNOWN_AUTHOR.encode(row) for row in found]


def take_known_authors(
    connection: Connection, owner: Endpoint, given: Sequence[Mapping[str, Any]]
) -> None:
    """Adds those of authors who are not known here. Raises Malformed."""
    for fields in given:
        values = KNOWN_AUTHOR.decode(fields)
        author, key = Endpoint.parse(values["author"]), PublicKey.parse(values["line"])
        if str(author.canonical) != values["author"] or key.line() != values["line"]:
            raise Malformed(f"a key that {owner} knows is not written as keys are kept")
        connection.execute(
            insert_or(connection, known_authors)
            .values(owner=str(owner), **values)
            .on_conflict_do_nothing()
        )
