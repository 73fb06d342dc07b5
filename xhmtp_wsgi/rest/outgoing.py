"""What was sent: handing in, delivery status, withdrawing."""

from datetime import UTC, datetime
from typing import Any

from webob import Response

from xhmtp_wsgi.errors import Gone, Malformed, NotFound, Unprocessable
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.composing import NewMessage, compose
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.sealed_message import TYPE
from xhmtp_wsgi.responses import json_response, response
from xhmtp_wsgi.rest import schemas
from xhmtp_wsgi.rest.operation import Call, Operation
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.fetch import described
from xhmtp_wsgi.sender.injection import preview, submit
from xhmtp_wsgi.sender.outbox import StoredMessage
from xhmtp_wsgi.sender.sealed_contents import described_plan
from xhmtp_wsgi.sender.sealing import Policy, Wish


def _sent(call: Call) -> Response:
    limit = call.query["limit"]
    found = outbox.sent(call.agent.database, call.owner, limit=limit, skip=call.query["skip"])
    items = {"items": [_described(call, one) for one in found]}
    more = {"skip": call.query["skip"] + limit} if len(found) == limit else {}
    return json_response(200, {**items, **more})


def _send(call: Call) -> Response:
    octets, wish = _composed(call)
    try:
        submission = submit(call.agent, [octets], str(call.owner), None, wish)
    except Malformed as error:
        raise Unprocessable(str(error)) from None
    location = f"{call.request.path}/{submission.identifier}"
    code = 201 if submission.is_new else 200
    # As it is stored: with the header that injection has completed.
    stored = outbox.several(call.agent.database, call.owner, [submission.identifier])[0]
    return json_response(code, _described(call, stored), {"Location": location})


def _plan(call: Call) -> Response:
    octets, wish = _composed(call)
    try:
        found = preview(call.agent, [octets], str(call.owner), None, wish)
    except Malformed as error:
        raise Unprocessable(str(error)) from None
    return json_response(200, described_plan(found))


def _composed(call: Call) -> tuple[bytes, Wish]:
    """The message that the body tells of, and how it is to be sealed. Raises Unprocessable."""
    body: dict[str, Any] = call.body
    now = datetime.fromtimestamp(call.agent.clock(), UTC)
    new = NewMessage(
        sender=str(call.owner),
        to=tuple(body.get("to", ())),
        cc=tuple(body.get("cc", ())),
        bcc=tuple(body.get("bcc", ())),
        subject=body.get("subject", ""),
        text=body.get("text", ""),
        in_reply_to=body.get("in-reply-to", ""),
        references=body.get("references", ""),
    )
    message_id = body.get("message-id") or f"<{new_identifier()}@{call.owner.domain}>"
    given = body.get("seal")
    wish = Wish(
        policy=None if given is None else Policy(given),
        subject_outside=body.get("show-subject"),
        accept_new_keys=body.get("accept-new-keys", False),
    )
    try:
        return compose(new, date=now, message_id=message_id), wish
    except Malformed as error:
        raise Unprocessable(str(error)) from None


def _one(call: Call) -> Response:
    return json_response(200, _described(call, _own(call)))


def _withdraw(call: Call) -> Response:
    outbox.withdraw(call.agent.database, _own(call).identifier, call.agent.clock())
    return _one(call)


def _content(call: Call) -> Response:
    message = _own(call)
    if message.withdrawn_at is not None or message.expires_at <= call.agent.clock():
        raise Gone("it is withdrawn, or kept no more")
    kind, ending = ("message/rfc822", "eml") if message.sealed is None else (TYPE, "age")
    answer = response(
        200,
        b"",
        kind,
        {"Content-Disposition": f'attachment; filename="{message.identifier}.{ending}"'},
    )
    answer.app_iter = outbox.octets(call.agent.database, message.identifier, 0, message.size)
    answer.content_length = message.size
    return answer


def _own(call: Call) -> StoredMessage:
    found = outbox.several(call.agent.database, call.owner, [call.path["id"]])
    if not found:
        raise NotFound("there is no such message")
    return found[0]


def _described(call: Call, message: StoredMessage) -> dict[str, object]:
    told = described(call.agent, message)
    return {**told, "subject": subject_of(message), "thread": message.thread}


def subject_of(message: StoredMessage) -> str | None:
    """The subject of a message that was sent, decoded; None where it has none."""
    block = message.header.removesuffix(b"\r\n")
    for field in scan(block, len(block)):
        if field.name.lower() == "subject":
            return display(field.value)
    return None


_SENT = schemas.reference("Sent")
_SKIP = {"type": "integer", "minimum": 0, "maximum": 1_000_000, "default": 0}

OPERATIONS = (
    Operation(
        "sent", "GET", "sent", "What was sent, newest first, with its delivery status", _sent,
        {200: schemas.of_many("Sent", skip=_SKIP)},
        query={"limit": schemas.LIMIT, "skip": _SKIP},
    ),
    Operation(
        "send", "POST", "sent",
        "Send a message; the same message-id again changes nothing, and answers 200", _send,
        {201: _SENT, 200: _SENT}, body=schemas.reference("NewMessage"),
    ),
    Operation(
        "plan", "POST", "plan",
        "What would become of a message for each recipient: sealed, in clear, or refused", _plan,
        {200: schemas.reference("Plan")}, body=schemas.reference("NewMessage"),
    ),
    Operation(
        "status", "GET", "sent/{id}", "One message, recipient by recipient", _one, {200: _SENT},
    ),
    Operation(
        "withdraw", "DELETE", "sent/{id}", "Take it back; whoever asks learns that", _withdraw,
        {200: _SENT},
    ),
    Operation(
        "sent-content", "GET", "sent/{id}/content", "Its octets", _content,
        {200: {"type": "string", "format": "binary"}},
    ),
)  # fmt: skip
