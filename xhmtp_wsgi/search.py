"""Search by words: SQLite's FTS5, or PostgreSQL's own; the same questions to both.

The wings put in what they have, each under a kind of its own, in the transaction that stores it;
what is found are their identifiers, newest first. A word is found by its beginning, several must
all be there, "in quotes" they must stand together; case and accents do not count.

Security: whose an entry is stands in the index itself, as a word of it: nobody's words are looked
through for another.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    insert,
    text,
)

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import metadata

MOST_TEXT = 200_000  # characters of one entry that are found again
MOST_QUERY = 500  # characters
MOST_TERMS = 20

entries = Table(
    "search_entry",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("item", Text, nullable=False),
    UniqueConstraint("owner", "kind", "item"),
)

_ENTER = text(
    "INSERT INTO search_entry (owner, kind, item) VALUES (:owner, :kind, :item) "
    # An update that changes nothing, so that the number of what is there comes back.
    "ON CONFLICT (owner, kind, item) DO UPDATE SET item = excluded.item RETURNING id"
)
_ENTER_NEW = insert(entries).returning(entries.c.id, sort_by_parameter_order=True)
_PUT_IN_SQLITE = text(
    "REPLACE INTO search_words (rowid, owner, words) VALUES (:id, :owner, :words)"
)
_PUT_IN_POSTGRESQL = text(
    "INSERT INTO search_words (id, words) VALUES "
    "(:id, to_tsvector('simple', :words) || array_to_tsvector(ARRAY[CAST(:owner AS text)])) "
    "ON CONFLICT (id) DO UPDATE SET words = excluded.words"
)

_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Hit:
    """What was found; ``number`` is where to go on."""

    number: int
    kind: str
    item: str


def put(connection: Connection, owner: Endpoint, kind: str, item: str, words: str) -> None:
    """Makes an item be found by these words, and by no others, within the caller's transaction."""
    address = str(owner.canonical)
    number = connection.execute(_ENTER, {"owner": address, "kind": kind, "item": item}).scalar_one()
    _put_words(connection, [(number, address, words)])


def put_new(connection: Connection, kind: str, items: Sequence[tuple[Endpoint, str, str]]) -> None:
    """The same for many that are new: whose each is, the item, and its words."""
    addresses = [str(owner.canonical) for owner, _, _ in items]
    numbers = connection.execute(
        _ENTER_NEW,
        [
            {"owner": address, "kind": kind, "item": item}
            for address, (_, item, _) in zip(addresses, items, strict=True)
        ],
    ).scalars()
    texts = [words for _, _, words in items]
    _put_words(connection, list(zip(numbers, addresses, texts, strict=True)))


def _put_words(connection: Connection, entered: Sequence[tuple[int, str, str]]) -> None:
    """Puts words into the index: an entry's number, whose it is, and its words."""
    is_sqlite = connection.dialect.name == "sqlite"
    # A tsvector holds so many octets at most; what is beyond is not found.
    most = MOST_TEXT if is_sqlite else MOST_TEXT // 2
    statement = _PUT_IN_SQLITE if is_sqlite else _PUT_IN_POSTGRESQL
    # PostgreSQL: no word has =, so that who asks for words cannot ask for this.
    mark = "" if is_sqlite else "="
    rows = [
        {
            "id": number,
            "owner": mark + _token(address),
            "words": plain(words[:MOST_TEXT])[:most],
        }
        for number, address, words in entered
    ]
    connection.execute(statement, rows)


def remove(connection: Connection, owner: Endpoint, kind: str, item: str) -> None:
    """Has an item be found no more, within the caller's transaction."""
    gone = connection.execute(
        entries.delete()
        .where(
            entries.c.owner == str(owner.canonical), entries.c.kind == kind, entries.c.item == item
        )
        .returning(entries.c.id)
    ).scalar_one_or_none()
    if gone is not None:
        _take_out(connection, gone)


def forget(connection: Connection, owner: Endpoint) -> None:
    """Takes out all that somebody has, within the caller's transaction."""
    column = "rowid" if connection.dialect.name == "sqlite" else "id"
    connection.execute(
        text(
            f"DELETE FROM search_words WHERE {column} IN "  # noqa: S608
            "(SELECT id FROM search_entry WHERE owner = :owner)"
        ),
        {"owner": str(owner.canonical)},
    )
    connection.execute(entries.delete().where(entries.c.owner == str(owner.canonical)))


def find(
    database: Database, owner: Endpoint, query: str, *, limit: int, before: int | None = None
) -> list[Hit]:
    """What an owner has with these words, newest first; ``before``: the number to go on from.

    Nothing for a query without a word in it.
    """
    terms = _terms(query)
    if not terms:
        return []
    token = _token(str(owner.canonical))
    with database.reading() as connection:
        sqlite = connection.dialect.name == "sqlite"
        statement = _SQLITE if sqlite else _POSTGRESQL
        found = connection.execute(
            text(statement),
            {
                "query": _fts5(token, terms) if sqlite else _tsquery(token, terms),
                "before": before if before is not None else 1 << 62,
                "limit": limit,
            },
        ).all()
    return [Hit(row.id, row.kind, row.item) for row in found]


def matcher(query: str) -> Callable[[str], bool] | None:
    """Whether words, as ``plain`` makes them, are found by a query: for what is in no index.

    None for a query without a word in it, which finds nothing.
    """
    phrases = [f" {' '.join(words)}" for words in _terms(query)]
    if not phrases:
        return None

    def is_found(words: str) -> bool:
        # Each term from the beginning of a word on; its end is open, as in the index.
        text_of_it = f" {words}"
        return all(phrase in text_of_it for phrase in phrases)

    return is_found


_SQLITE = (
    "SELECT e.id, e.kind, e.item FROM search_words w JOIN search_entry e ON e.id = w.rowid "
    "WHERE w.search_words MATCH :query AND w.rowid < :before ORDER BY w.rowid DESC LIMIT :limit"
)
_POSTGRESQL = (
    "SELECT e.id, e.kind, e.item FROM search_words w JOIN search_entry e ON e.id = w.id "
    "WHERE w.words @@ CAST(:query AS tsquery) AND w.id < :before ORDER BY w.id DESC LIMIT :limit"
)


def plain(words: str) -> str:
    """The words in lower case and without accents, as both databases are given them."""
    decomposed = unicodedata.normalize("NFKD", words.casefold())
    kept = "".join(one for one in decomposed if not unicodedata.combining(one))
    return " ".join(_WORD.findall(kept.replace("_", " ")))


def _terms(query: str) -> list[list[str]]:
    """Each term a list of words that stand together; the last one's end is open."""
    found = []
    for quoted, single in _TERM.findall(query[:MOST_QUERY]):
        words = plain(quoted or single).split()
        if words:
            found.append(words)
    return found[:MOST_TERMS]


def _fts5(token: str, terms: list[list[str]]) -> str:
    # Words are of letters and digits alone: nothing of FTS5's language can be in them.
    phrases = [f'words : "{" ".join(words)}" *' for words in terms]
    return " AND ".join([f'owner : "{token}"', *phrases])


def _tsquery(token: str, terms: list[list[str]]) -> str:
    phrases = [
        "(" + " <-> ".join([*(f"'{word}'" for word in words[:-1]), f"'{words[-1]}':*"]) + ")"
        for words in terms
    ]
    return " & ".join([f"'={token}'", *phrases])


def _take_out(connection: Connection, number: int) -> None:
    column = "rowid" if connection.dialect.name == "sqlite" else "id"
    connection.execute(text(f"DELETE FROM search_words WHERE {column} = :id"), {"id": number})  # noqa: S608


def _token(address: str) -> str:
    """One word that stands for an owner, and that no text has by chance."""
    return "owner" + hashlib.sha256(address.encode()).hexdigest()[:32]
