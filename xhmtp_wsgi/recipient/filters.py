"""Filters: whom a domain and its users let in (docs/protocol.md, section 7).

Rules are tried in their order, those of the domain first; the first that matches decides. Where
none does, the notification is accepted.

Security: anybody may write anything into From. So a rule that accepts an address matches only where
the notification comes from an agent of its domain; one that keeps it out matches in any case.
"""

import fnmatch
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Column, Double, Integer, Table, Text, bindparam, delete, func, insert, select

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Malformed, MalformedAddress, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.hostname import parse_hostname
from xhmtp_wsgi.schema import metadata

ANONYMOUS, UNSIGNED, EVERYBODY = "anonymous", "unsigned", "*"
MAX_PATTERN = 200  # characters

rules = Table(
    "filter_rule",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner", Text, nullable=False, index=True),
    Column("position", Double, nullable=False),
    Column("action", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("header", Text),
    Column("pattern", Text),
)

_RULES_OF_FOUR = select(rules).where(rules.c.owner.in_([bindparam(name) for name in "abcd"]))
_RULES_OF_MANY = select(rules).where(rules.c.owner.in_(bindparam("owners", expanding=True)))


class Action(StrEnum):
    """What becomes of a notification."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``header`` and ``pattern`` narrow it down where they are given."""

    id: int
    owner: str
    action: Action
    who: str
    header: str | None
    pattern: str | None

    def __str__(self) -> str:
        narrowed = f" where {self.header} is like {self.pattern}" if self.header else ""
        return f"{self.action} {self.who}{narrowed}"


@dataclass(frozen=True, slots=True)
class Subject:
    """What rules look at. ``vouched``: it comes from an agent of the author's domain.

    ``headers``: as they were sent, by name in lower case.
    """

    author: Endpoint | None
    signed: bool
    vouched: bool
    headers: Mapping[str, str]


def parse_who(text: str) -> str:
    """``alice@A``, ``*@A``, ``*.A``, ``anonymous``, ``unsigned`` or ``*``. Raises Malformed."""
    if text in (ANONYMOUS, UNSIGNED, EVERYBODY):
        return text
    try:
        if text.startswith("*@"):
            return f"*@{parse_hostname(text[2:])}"
        if text.startswith("*."):
            return f"*.{parse_hostname(text[2:])}"
        if "*" in text:
            raise MalformedAddress("a * stands for a whole name, as *@A, or for all below, as *.A")
        return str(Endpoint.parse(text).canonical)
    except MalformedAddress as error:
        raise Malformed(
            f"{text[:100]!r} is none of alice@A, *@A, *.A, anonymous, unsigned, *: {error}"
        ) from None


def decide(found: Sequence[Rule], subject: Subject) -> tuple[Action, Rule | None]:
    """What becomes of it, and by which rule; None where no rule matches."""
    for rule in found:
        if _matches(rule, subject):
            return rule.action, rule
    return Action.ACCEPT, None


def rules_for(database: Database, recipient: Endpoint, owner: Endpoint | None = None) -> list[Rule]:
    """The rules that a notification for this recipient meets, in their order.

    ``owner``: to whom his address leads, if it is an alias; the rules there come after its own.
    """
    pair = recipient, recipient if owner is None else owner
    return rules_for_all(database, [pair])[pair]


def rules_for_all(
    database: Database, pairs: Collection[tuple[Endpoint, Endpoint]]
) -> dict[tuple[Endpoint, Endpoint], list[Rule]]:
    """The same for many, asked for at once: each a recipient, and to whom his address leads."""
    owners = {pair: _owners(*pair) for pair in pairs}
    asked = {name for names in owners.values() for name in names}
    with database.reading() as connection:
        if len(owners) == 1:
            ((first, second, third, fourth),) = owners.values()
            four = {"a": first, "b": second, "c": third, "d": fourth}
            found = connection.execute(_RULES_OF_FOUR, four).all()
        else:
            found = connection.execute(_RULES_OF_MANY, {"owners": list(asked)}).all()
    rows = defaultdict(list)
    for row in sorted(found, key=lambda row: (row.position, row.id)):
        rows[row.owner].append(_rule(row))
    # A name that is there twice counts where it is first.
    return {
        pair: [rule for name in dict.fromkeys(names) for rule in rows.get(name, ())]
        for pair, names in owners.items()
    }


def _owners(recipient: Endpoint, owner: Endpoint) -> tuple[str, str, str, str]:
    return recipient.domain, str(recipient.canonical), owner.domain, str(owner.canonical)


def owned(database: Database, owner: str) -> list[Rule]:
    """The rules of a domain or of a user, in their order."""
    with database.reading() as connection:
        found = connection.execute(
            select(rules).where(rules.c.owner == owner).order_by(rules.c.position, rules.c.id)
        ).all()
    return [_rule(row) for row in found]


def add(
    database: Database,
    owner: str,
    action: Action,
    who: str,
    header: str | None = None,
    pattern: str | None = None,
    *,
    first: bool = False,
) -> Rule:
    """Adds a rule, last or first of its owner's. Raises Malformed."""
    who = parse_who(who)
    if (header is None) != (pattern is None):
        raise Malformed("a header and a pattern go together")
    if pattern is not None and not 0 < len(pattern) <= MAX_PATTERN:
        raise Malformed(f"a pattern has 1 to {MAX_PATTERN} characters")
    with database.transaction() as connection:
        edge = func.min(rules.c.position) if first else func.max(rules.c.position)
        found = connection.execute(select(edge).where(rules.c.owner == owner)).scalar()
        position = (found or 0.0) + (-1.0 if first else 1.0)
        row = connection.execute(
            insert(rules)
            .values(
                owner=owner,
                position=position,
                action=action,
                who=who,
                header=None if header is None else header.lower(),
                pattern=pattern,
            )
            .returning(*rules.c)
        ).one()
    return _rule(row)


def remove(database: Database, owner: str, number: int) -> None:
    """Removes a rule by its number. Raises NotFound."""
    with database.transaction() as connection:
        gone = connection.execute(delete(rules).where(rules.c.owner == owner, rules.c.id == number))
    if not gone.rowcount:
        raise NotFound(f"{owner} has no rule {number}")


def _matches(rule: Rule, subject: Subject) -> bool:
    if not _is_meant(rule, subject):
        return False
    if rule.header is None or rule.pattern is None:
        return True
    value = display(subject.headers.get(rule.header, ""))
    return fnmatch.fnmatchcase(value.lower(), rule.pattern.lower())


def _is_meant(rule: Rule, subject: Subject) -> bool:
    if rule.who == EVERYBODY:
        return True
    if rule.who == ANONYMOUS:
        return subject.author is None
    if rule.who == UNSIGNED:
        return not subject.signed
    if subject.author is None or (rule.action is Action.ACCEPT and not subject.vouched):
        return False
    author = subject.author.canonical
    if rule.who.startswith("*@"):
        return author.domain == rule.who[2:]
    if rule.who.startswith("*."):
        return author.domain.endswith(rule.who[1:])
    return str(author) == rule.who


def _rule(row: object) -> Rule:
    values = row._mapping  # type: ignore[attr-defined]
    return Rule(
        values["id"], values["owner"], Action(values["action"]), values["who"],
        values["header"], values["pattern"],
    )  # fmt: skip
