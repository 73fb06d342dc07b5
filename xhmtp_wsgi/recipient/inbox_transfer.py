"""A mailbox as JSON has it, and taken from there (docs/moving.md).

Into an empty mailbox it comes as it was: each notice with its number and its identifier, of which
the feed's guid is made. Into one that has notices, those that are missing come as its newest, so
that no reader skips one; what is there keeps its place. A notice is known by its URL.

Security: what is taken in here is shown in the feed, so it meets the checks of a notification.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, func, insert, select, update

from xhmtp_wsgi import search
from xhmtp_wsgi.errors import Malformed, SettingsError, XHMTPError
from xhmtp_wsgi.protocol.access_code import is_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.notification import PERMISSIBLE
from xhmtp_wsgi.recipient.inbox import SEARCH_KIND, searchable
from xhmtp_wsgi.recipient.kept_transfer import checked_checks, checked_copy, copy_of, take_copy
from xhmtp_wsgi.recipient.mailbox import INBOX
from xhmtp_wsgi.recipient.positions import locked
from xhmtp_wsgi.recipient.tables import mailboxes, notices
from xhmtp_wsgi.row_json import RowForm, harmless

MAILBOX = RowForm(mailboxes, without={"id", "address"})
NOTICE = RowForm(notices, without={"mailbox", "checks"}, signed={"position"})
# Of fields that may be missing.
_NUMBERS = {"last_position": 0, "last_quarantined": 0, "version": 0}
_FIRST_FOLDER = {"folder": INBOX}
AT_ONCE = 500  # rows
LARGEST_NUMBER = 10**15  # of a notice: what a link in the feed can name
LARGEST_VERSION = 10**17  # of a mailbox: what an ETag can hold
LONGEST_THREAD = 300  # characters
DIGEST = 32  # octets
_FOLDER = re.compile(r"[^\x00-\x1f\x7f/]{1,60}")

Copy: TypeAlias = Callable[[Mapping[str, Any]], Iterable[bytes]]
"""Gives the octets of a kept copy, by its row."""


@dataclass(slots=True)
class TakenNotices:
    """What became of them."""

    added: int = 0
    known: int = 0


@dataclass(slots=True)
class _Place:
    """A mailbox that notices are put into: its numbers so far; ``is_empty``: it had none yet."""

    id: int
    last_position: int
    last_quarantined: int
    version: int
    is_empty: bool


def owners(connection: Connection) -> set[str]:
    """Everybody who has a mailbox."""
    return set(connection.execute(select(mailboxes.c.address)).scalars())


def mailbox_of(connection: Connection, owner: Endpoint) -> dict[str, Any] | None:
    """The state of a mailbox; None where nothing ever came."""
    row = connection.execute(
        select(mailboxes).where(mailboxes.c.address == str(owner.canonical))
    ).one_or_none()
    return None if row is None else MAILBOX.encode(row)


def notices_of(connection: Connection, owner: Endpoint) -> Iterator[dict[str, Any]]:
    """All notices, those in the feed first, each in the order in which they came."""
    mine = select(notices).join(mailboxes).where(mailboxes.c.address == str(owner.canonical))
    for in_feed in (True, False):
        last = 0
        while True:
            beyond = notices.c.position > last if in_feed else notices.c.position < last
            order = notices.c.position if in_feed else notices.c.position.desc()
            found = connection.execute(mine.where(beyond).order_by(order).limit(AT_ONCE)).all()
            for row in found:
                kept = copy_of(connection, row.id)
                yield {**NOTICE.encode(row), "checks": json.loads(row.checks), "kept": kept}
            if len(found) < AT_ONCE:
                break
            last = found[-1].position


def checked_mailbox(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a mailbox. Raises Malformed."""
    values = {**_NUMBERS, **MAILBOX.decode(fields)}
    if max(values["last_position"], values["last_quarantined"]) > LARGEST_NUMBER:
        raise Malformed("the numbers of the mailbox are out of bounds")
    if values["version"] > LARGEST_VERSION:
        raise Malformed("the version of the mailbox is out of bounds")
    return values


def checked_notices(
    mailbox: Mapping[str, Any], given: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The rows of the notices of a checked mailbox. Raises Malformed."""
    last = {True: 0, False: 0}
    most = {True: mailbox["last_position"], False: mailbox["last_quarantined"]}
    for fields in given:
        row = _checked(fields)
        in_feed, number = row["position"] > 0, abs(row["position"])
        if not last[in_feed] < number <= most[in_feed]:
            raise Malformed(f"the notice {row['id']} is not in its order")
        last[in_feed] = number
        yield row


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a notice, and its copy where one is kept. Raises Malformed."""
    rest = {name: one for name, one in fields.items() if name not in ("checks", "kept")}
    values = {**_FIRST_FOLDER, **NOTICE.decode(rest)}
    identifier = values["id"]
    if not is_identifier(identifier) or not 0 < abs(values["position"]) <= LARGEST_NUMBER:
        raise Malformed(f"the notice {identifier[:50]!r} has no ID, or no number")
    if values["deleted_at"] is None:
        _check_content(values)
    elif values["url"] or values["headers"] or len(values["url_hash"]) != DIGEST:
        raise Malformed(f"the notice {identifier} is deleted, and is not")
    if values["digest"] is not None and len(values["digest"]) != DIGEST:
        raise Malformed(f"the digest of the notice {identifier} is none")
    if not _FOLDER.fullmatch(values["folder"]) or _is_long(values["thread"], values["message_id"]):
        raise Malformed(f"the notice {identifier} is in no folder, or has no such conversation")
    kept = fields.get("kept")
    return {
        **values,
        "source": harmless(values["source"]),
        "checks": json.dumps(checked_checks(fields.get("checks"), identifier)),
        "kept": None if kept is None else checked_copy(identifier, kept),
    }


def _check_content(values: Mapping[str, Any]) -> None:
    identifier = values["id"]
    try:
        url = MessageURL.parse(values["url"])
        headers = scan(values["headers"], len(values["headers"]))
    except XHMTPError as error:
        raise Malformed(f"the notice {identifier}: {error}") from None
    if url.with_credentials() != values["url"]:
        raise Malformed(f"the URL of the notice {identifier} is not written as URLs are kept")
    if hashlib.sha256(values["url"].encode()).digest() != values["url_hash"]:
        raise Malformed(f"the URL of the notice {identifier} has another hash")
    if any(one.name.lower() not in PERMISSIBLE for one in headers):
        raise Malformed(f"the notice {identifier} has a field that no notification has")


def _is_long(*texts: str | None) -> bool:
    return any(len(text or "") > LONGEST_THREAD for text in texts)


def take_notices(
    connection: Connection,
    owner: Endpoint,
    mailbox: Mapping[str, Any],
    rows: Iterable[dict[str, Any]],
    copy: Copy,
    *,
    most: int,
    now: float,
) -> TakenNotices:
    """Adds the notices that are not here, with their copies; in the caller's transaction.

    ``mailbox`` and ``rows``: checked. Raises Malformed, or SettingsError above ``most`` of them.
    """
    place = _place(connection, owner, now)
    taken = TakenNotices()
    for batch in _batches(rows):
        known = _known(connection, place, batch)
        new = [row for row in batch if row["url_hash"] not in known]
        for row in new:
            row["mailbox"], row["position"] = place.id, _position(place, row["position"])
        if new:
            columns = [{name: row[name] for name in row if name != "kept"} for row in new]
            connection.execute(insert(notices), columns)
        for row in new:
            _add_rest(connection, owner, row, copy)
        taken.added += len(new)
        taken.known += len(batch) - len(new)
    if taken.added:
        if place.is_empty:
            place.last_position = mailbox["last_position"]
            place.last_quarantined = mailbox["last_quarantined"]
        _note_change(connection, place, mailbox["version"], now)
        _require_room(connection, owner, place, most)
    return taken


def _add_rest(connection: Connection, owner: Endpoint, row: Mapping[str, Any], copy: Copy) -> None:
    """What belongs to a notice that was added: its kept copy, and that search finds it."""
    if row["kept"] is not None:
        take_copy(connection, row["kept"], copy(row["kept"]))
    if row["deleted_at"] is None:
        found = scan(row["headers"], len(row["headers"])) if row["headers"] else ()
        fields = {one.name.lower(): one.value for one in found}
        search.put(connection, owner, SEARCH_KIND, row["id"], searchable(fields))


def _place(connection: Connection, owner: Endpoint, now: float) -> _Place:
    """The mailbox, its row locked against other writers; made where it is the first."""
    found = locked(connection, [owner], now)[owner]
    is_empty = found.given_out == 0
    return _Place(found.id, found.last_position, found.last_quarantined, found.version, is_empty)


def _known(connection: Connection, place: _Place, batch: list[dict[str, Any]]) -> set[bytes]:
    hashes = [row["url_hash"] for row in batch]
    return set(
        connection.execute(
            select(notices.c.url_hash).where(
                notices.c.mailbox == place.id, notices.c.url_hash.in_(hashes)
            )
        ).scalars()
    )


def _position(place: _Place, position: int) -> int:
    """The number that a notice gets here: its own where there is none yet, else the next."""
    if place.is_empty:
        return position
    if position > 0:
        place.last_position += 1
        return place.last_position
    place.last_quarantined += 1
    return -place.last_quarantined


def _note_change(connection: Connection, place: _Place, version: int, now: float) -> None:
    # A version that no reader has seen: what came after the copy was made has had versions too, and
    # a reader who knows one of those would take what comes here for that.
    version = max(place.version + 1, version + 1, int(now * 1e6))
    connection.execute(
        update(mailboxes)
        .where(mailboxes.c.id == place.id)
        .values(
            last_position=place.last_position,
            last_quarantined=place.last_quarantined,
            version=version,
            changed_at=now,
        )
    )


def _require_room(connection: Connection, owner: Endpoint, place: _Place, most: int) -> None:
    counted = select(func.count()).select_from(notices).where(notices.c.mailbox == place.id)
    if connection.execute(counted).scalar_one() > most:
        raise SettingsError("max_inbox", f"{owner} has more notifications than that")


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
