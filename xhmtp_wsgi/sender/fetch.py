"""Fetching: a recipient gets a message with his access code (docs/protocol.md, section 8).

Ranges, conditional requests and HEAD are WebOb's (RFC 9110); the octets come out of the outbox in
pieces. Several ranges in one request are answered with the whole.

Security: a wrong code, another's code and a message that never was get the same answer.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from webob import Request, Response

from xhmtp_wsgi.accounts import WRONG
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Gone, MalformedAddress, NotAuthenticated, NotFound, Transient
from xhmtp_wsgi.login_guard import guarded, logged_in_by_site
from xhmtp_wsgi.protocol.basic_authentication import Credentials, parse_authorization
from xhmtp_wsgi.protocol.digest import repr_digest
from xhmtp_wsgi.protocol.sealed_message import TYPE
from xhmtp_wsgi.responses import SAFE_HEADERS, json_response, response, set_headers
from xhmtp_wsgi.routes import MessageRoute, OutboxRoute, StatusRoute
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.login import authenticated_sender
from xhmtp_wsgi.sender.message_page import (
    MOST,
    POLICY,
    message_page,
    sealed_page,
    wants_page,
    wants_source,
)
from xhmtp_wsgi.sender.opened_message import Delivery, note_fetched, opened
from xhmtp_wsgi.sender.outbox import RecipientStatus, StoredMessage

logger = logging.getLogger(__name__)

SENT_ON_A_PAGE = 50


@dataclass(frozen=True, slots=True)
class _Octets:
    """A message's octets as WebOb asks for them: all, or a range."""

    database: Database
    message: StoredMessage

    def __iter__(self) -> Iterator[bytes]:
        return self.app_iter_range(0, None)

    def app_iter_range(self, start: int, stop: int | None) -> Iterator[bytes]:
        end = self.message.size if stop is None else stop
        return outbox.octets(
            self.database,
            self.message.identifier,
            start,
            end,
            first_piece=self.message.first_piece,
        )


def fetch(agent: Agent, request: Request, route: MessageRoute) -> Response:
    """``GET /PREFIX/alice/$ID``."""
    message, delivery = _opened(agent, request, route.identifier)
    now = agent.clock()
    if message.withdrawn_at is not None:
        raise Gone("the sender has withdrawn this message")
    if message.expires_at <= now:
        raise Gone("the sender's agent no longer keeps this message")
    if delivery is not None and not delivery.was_fetched and request.method == "GET":
        try:
            note_fetched(agent.database, delivery.identifier, now)
        except Transient as error:
            # Bob's message matters more than alice's note of it.
            logger.warning("a fetch was not noted: %s", error)
    if wants_page(request):
        return _page(agent.database, message)
    if "," in request.environ.get("HTTP_RANGE", ""):
        # WebOb would answer with the first of several ranges alone.
        del request.environ["HTTP_RANGE"]
    answer = _answer(agent.database, message, None if delivery is None else delivery.octets)
    if wants_source(request) and message.sealed is None:
        answer.headers["Content-Type"] = "text/plain; charset=utf-8"
        answer.headers["Content-Disposition"] = "inline"
    return answer


def withdraw(agent: Agent, request: Request, route: MessageRoute) -> Response:
    """``DELETE /PREFIX/alice/$ID``."""
    message = _own(agent, request, route)
    outbox.withdraw(agent.database, message.identifier, agent.clock())
    return _status_answer(agent, message)


def status(agent: Agent, request: Request, route: StatusRoute) -> Response:
    """``GET /PREFIX/alice/$ID/status``."""
    return _status_answer(agent, _own(agent, request, route))


def sent(agent: Agent, request: Request, route: OutboxRoute) -> Response:
    """``GET /PREFIX/alice/``: what she has sent, newest first, ``?page=`` from 1."""
    sender = authenticated_sender(agent, request, route.sender)
    given = request.GET.get("page", "1")
    page = int(given) if given.isascii() and given.isdigit() and len(given) < 8 else 1
    found = outbox.sent(
        agent.database, sender, limit=SENT_ON_A_PAGE, skip=SENT_ON_A_PAGE * (max(page, 1) - 1)
    )
    return json_response(200, {"messages": [described(agent, message) for message in found]})


def _opened(
    agent: Agent, request: Request, identifier: str
) -> tuple[StoredMessage, Delivery | None]:
    """The message, and the delivery whose code opened it; None if it was its sender."""
    account = logged_in_by_site(agent, request)
    credentials = parse_authorization(request.environ.get("HTTP_AUTHORIZATION"))
    if credentials is not None:
        message, delivery = opened(
            agent.database, identifier, credentials.user, credentials.password
        )
    elif account is not None:
        message, delivery = outbox.find(agent.database, identifier), None
    else:
        raise NotAuthenticated("this needs a recipient's address and access code")
    if message is not None and account is not None and account.endpoint == message.sender:
        return message, None
    if delivery is not None:
        return delivery.told, delivery
    # Asked also where there is no such message: so the time tells nothing.
    is_sender = credentials is not None and _is_sender(agent, request, message, credentials)
    if message is None or not is_sender:
        raise NotAuthenticated(WRONG)
    return message, None


def _is_sender(
    agent: Agent, request: Request, message: StoredMessage | None, credentials: Credentials
) -> bool:
    try:
        claimed = agent.accounts.named(credentials.user)
        if claimed is None or message is None or claimed != message.sender:
            return False
        guarded(
            agent,
            request,
            str(claimed),
            lambda: agent.accounts.authenticate(claimed, credentials.password),
        )
    except (MalformedAddress, NotAuthenticated):
        return False
    return True


def _own(agent: Agent, request: Request, route: MessageRoute | StatusRoute) -> StoredMessage:
    """A message of hers. Raises NotAuthenticated, or NotFound for what is not hers."""
    sender = authenticated_sender(agent, request, None)
    message = outbox.find(agent.database, route.identifier)
    if message is None or message.sender != sender:
        raise NotFound("there is no such message")
    return message


def _page(database: Database, message: StoredMessage) -> Response:
    """The message for a browser: harmless text."""
    if message.sealed is not None:
        page = sealed_page(message.header)
    else:
        end = min(message.size, MOST)
        octets = b"".join(outbox.octets(database, message.identifier, 0, end))
        page = message_page(octets, truncated=end < message.size)
    return response(
        200,
        page.encode("utf-8", "replace"),
        "text/html; charset=utf-8",
        {"Content-Security-Policy": POLICY},
    )


def _answer(database: Database, message: StoredMessage, octets: bytes | None) -> Response:
    ending = "eml" if message.sealed is None else "age"
    answer = Response(conditional_response=True)
    set_headers(answer, SAFE_HEADERS)
    set_headers(
        answer,
        (
            ("Content-Type", "message/rfc822" if message.sealed is None else TYPE),
            ("Content-Disposition", f'attachment; filename="{message.identifier}.{ending}"'),
            ("Repr-Digest", repr_digest(message.digest)),
        ),
    )
    answer.app_iter = _Octets(database, message) if octets is None else [octets]
    answer.content_length = message.size
    answer.etag = message.digest.hex()
    answer.last_modified = int(message.created_at)
    answer.accept_ranges = "bytes"
    return answer


def _status_answer(agent: Agent, message: StoredMessage) -> Response:
    return json_response(200, described(agent, message))


def described(agent: Agent, message: StoredMessage) -> dict[str, object]:
    """A message and how far it has come, as JSON has it (docs/protocol.md, section 10)."""
    statuses = outbox.statuses(agent.database, message.identifier)
    return {
        "id": message.identifier,
        "message-id": message.message_id,
        "size": message.size,
        "digest": repr_digest(message.digest),
        "sent": _time(message.created_at),
        "expires": _time(message.expires_at),
        "withdrawn": _time(message.withdrawn_at),
        "recipients": [_described_recipient(status) for status in statuses],
    }


def _described_recipient(status: RecipientStatus) -> dict[str, object]:
    return {
        "address": status.recipient,
        "state": status.state,
        "sealed": status.sealed,
        "tries": status.tries,
        "next-try": _time(status.next_try_at),
        "last-try": _time(status.last_try_at),
        "last-status": status.last_status,
        "last-answer": status.last_answer,
        "moved-to": status.moved_to,
        "unvouched": status.unvouched,
        "notified": _time(status.notified_at),
        "fetched": _time(status.fetched_at),
    }


def _time(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
