"""What came: messages, folders, conversations, quarantine, search, and waiting for what is new."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from webob import Response

from xhmtp_wsgi import search
from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.protocol.digest import repr_digest
from xhmtp_wsgi.protocol.sealed_message import TYPE
from xhmtp_wsgi.recipient import inbox, kept_copies, mailbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.mailbox import COUNTED, Wanted
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice
from xhmtp_wsgi.responses import json_response, response
from xhmtp_wsgi.rest import schemas
from xhmtp_wsgi.rest.operation import Call, Operation

LONGEST_WAIT = 55  # seconds: below what proxies allow
ASKED_EACH = 0.5  # seconds


def moment(value: float | None) -> str | None:
    """A time as JSON has it."""
    if value is None:
        return None
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")


def no_content() -> Response:
    """204."""
    answer = response(204, b"", "application/json")
    del answer.content_type
    del answer.content_length
    return answer


def _box(call: Call) -> Response:
    state = inbox.state(call.agent.database, call.owner)
    return json_response(
        200,
        {
            "address": str(call.owner),
            "version": state.version,
            "last-position": state.last_position,
            "folders": [
                {
                    "name": one.name,
                    "unseen": one.unseen,
                    "more-unseen": one.unseen >= COUNTED,
                }
                for one in mailbox.folders(call.agent.database, call.owner)
            ],
        },
    )


def _messages(call: Call) -> Response:
    wanted = Wanted(
        call.query.get("folder", mailbox.INBOX), call.query["unseen"], call.query["starred"]
    )
    limit = call.query["limit"]
    found = mailbox.listed(
        call.agent.database, call.owner, wanted, limit=limit, before=call.query.get("before")
    )
    items = {"items": _described(call, found)}
    more = {"before": found[-1].position} if len(found) == limit else {}
    return json_response(200, {**items, **more})


def _message(call: Call) -> Response:
    notice = mailbox.find(call.agent.database, call.owner, call.path["id"])
    return json_response(200, _described(call, [notice])[0])


def _change(call: Call) -> Response:
    database, owner, now = call.agent.database, call.owner, call.agent.clock()
    identifier = [mailbox.find(database, owner, call.path["id"]).identifier]
    if "seen" in call.body:
        mailbox.set_seen(database, owner, identifier, now, seen=call.body["seen"])
    if "starred" in call.body:
        mailbox.set_starred(database, owner, identifier, now, starred=call.body["starred"])
    if "folder" in call.body:
        mailbox.move(database, owner, identifier, call.body["folder"])
    return _message(call)


def _delete(call: Call) -> Response:
    database, owner = call.agent.database, call.owner
    if not mailbox.delete(database, owner, [call.path["id"]], call.agent.clock()):
        raise NotFound("there is no such message")
    return no_content()


def _content(call: Call) -> Response:
    notice = mailbox.find(call.agent.database, call.owner, call.path["id"])
    kept = kept_copies.kept(call.agent.database, notice.identifier)
    if kept is None:
        raise NotFound("no copy of it is kept here; its url leads to its sender's agent")
    kind, ending = (TYPE, "age") if is_sealed_notice(notice) else ("message/rfc822", "eml")
    headers = {"Content-Disposition": f'attachment; filename="{notice.identifier}.{ending}"'}
    if notice.digest is not None:
        headers["Repr-Digest"] = repr_digest(notice.digest)
    return response(200, kept[0], kind, headers)


def _conversation(call: Call) -> Response:
    found = mailbox.conversation(
        call.agent.database, call.owner, call.path["thread"], schemas.MOST_AT_ONCE
    )
    return json_response(200, {"items": _described(call, found)})


def _quarantine(call: Call) -> Response:
    found = inbox.quarantined(call.agent.database, call.owner, schemas.MOST_AT_ONCE)
    return json_response(200, {"items": _described(call, found)})


def _release(call: Call) -> Response:
    inbox.release(call.agent.database, call.owner, call.path["id"], call.agent.clock())
    return _message(call)


def _drop(call: Call) -> Response:
    inbox.drop(call.agent.database, call.owner, call.path["id"], call.agent.clock())
    return no_content()


def _search(call: Call) -> Response:
    limit = call.query["limit"]
    hits = search.find(
        call.agent.database,
        call.owner,
        call.query["q"],
        limit=limit,
        before=call.query.get("before"),
    )
    items = [{"kind": hit.kind, "id": hit.item, "number": hit.number} for hit in hits]
    more = {"before": hits[-1].number} if len(hits) == limit else {}
    return json_response(200, {"items": items, **more})


def _changes(call: Call) -> Response:
    """Answers when the mailbox has another version than ``since``, or after ``wait`` seconds.

    At once where that would keep a whole worker, or too many threads of one, from others.
    """
    turns = call.agent.long_polls
    if not call.request.environ.get("wsgi.multithread") or not turns.acquire(blocking=False):
        return _box(call)
    try:
        end = call.agent.monotonic() + call.query["wait"]
        while call.agent.monotonic() < end:
            if inbox.state(call.agent.database, call.owner).version != call.query.get("since"):
                break
            time.sleep(ASKED_EACH)
    finally:
        turns.release()
    return _box(call)


def _described(call: Call, found: list[Notice]) -> list[dict[str, object]]:
    copies = kept_copies.which(call.agent.database, [one.identifier for one in found])
    return [described(notice, kept=notice.identifier in copies) for notice in found]


def described(notice: Notice, *, kept: bool) -> dict[str, object]:
    """A notice as JSON has it."""
    fields: Mapping[str, str] = fields_of(notice)
    return {
        "id": notice.identifier,
        "position": notice.position,
        "folder": notice.folder,
        "received": moment(notice.received_at),
        **{
            name: fields.get(name) for name in ("from", "to", "cc", "subject", "date", "message-id")
        },
        "thread": notice.thread,
        "size": notice.size,
        "digest": repr_digest(notice.digest) if notice.digest else None,
        "seen": notice.seen_at is not None,
        "starred": notice.starred_at is not None,
        "kept": kept,
        "sealed": is_sealed_notice(notice),
        "url": notice.url,
        "checks": [
            {"name": one.name, "result": one.result, "reason": one.reason} for one in notice.checks
        ],
    }


_MESSAGE = schemas.reference("Message")
_SEVERAL = schemas.of_many("Message", before=schemas.BEFORE)
_FLAG: dict[str, Any] = {"type": "boolean", "default": False}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": schemas.MOST_POSITION}

OPERATIONS = (
    Operation(
        "mailbox", "GET", "", "The mailbox: its version and its folders", _box,
        {200: schemas.reference("Mailbox")},
    ),
    Operation(
        "changes", "GET", "changes",
        "The same, when the version is another than `since`, or after `wait` seconds", _changes,
        {200: schemas.reference("Mailbox")},
        query={
            "since": _NUMBER,
            "wait": {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": 0},
        },
    ),
    Operation(
        "messages", "GET", "messages", "What came, newest first", _messages, {200: _SEVERAL},
        query={
            "folder": schemas.FOLDER, "unseen": _FLAG, "starred": _FLAG, "limit": schemas.LIMIT,
            "before": schemas.BEFORE,
        },
    ),
    Operation(
        "message", "GET", "messages/{id}", "One message, as its notification told", _message,
        {200: _MESSAGE},
    ),
    Operation(
        "change", "PATCH", "messages/{id}", "Mark it as seen or with a star, or move it", _change,
        {200: _MESSAGE}, body=schemas.reference("Change"),
    ),
    Operation(
        "delete", "DELETE", "messages/{id}", "Delete it for good", _delete, {204: None},
    ),
    Operation(
        "content", "GET", "messages/{id}/content", "Its octets, if a copy is kept here", _content,
        {200: {"type": "string", "format": "binary"}},
    ),
    Operation(
        "conversation", "GET", "conversations/{thread}", "What came of one, oldest first",
        _conversation, {200: schemas.of_many("Message")},
    ),
    Operation(
        "quarantine", "GET", "quarantine", "What filters keep out of the feed", _quarantine,
        {200: schemas.of_many("Message")},
    ),
    Operation(
        "release", "POST", "quarantine/{id}/release", "Put it into the inbox", _release,
        {200: _MESSAGE}, body=schemas.strict({}),
    ),
    Operation(
        "drop", "DELETE", "quarantine/{id}", "Remove it for good", _drop, {204: None},
    ),
    Operation(
        "search", "GET", "search", "Find by words in headers and kept texts, newest first", _search,
        {200: schemas.of_many("Hit", before=schemas.BEFORE)},
        query={
            "q": {"type": "string", "maxLength": 500, "default": ""}, "limit": schemas.LIMIT,
            "before": schemas.BEFORE,
        },
    ),
)  # fmt: skip
