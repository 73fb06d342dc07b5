"""Injection: an endpoint hands its agent a message to send (docs/protocol.md, section 4).

RFC 5598's submission. ``submit`` is the one way in: the view, ``XHMTP.submit`` and the commands all
take it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Forbidden, ImpossibleRecipients, MalformedAddress, Misdirected
from xhmtp_wsgi.protocol.access_code import new_code, new_identifier
from xhmtp_wsgi.protocol.anonymity import anonymised
from xhmtp_wsgi.protocol.digest import repr_digest
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.message import Preamble, prepare
from xhmtp_wsgi.request_body import body_pieces, require_type
from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.routes import OutboxRoute
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.login import authenticated_sender
from xhmtp_wsgi.sender.outbox import NewRecipient, StoredMessage
from xhmtp_wsgi.sender.spool import spool

LONGEST_KEPT = 366 * 86400.0  # seconds: the most that a message's own Expires can ask for


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a message that was handed in."""

    message: StoredMessage
    is_new: bool

    @property
    def identifier(self) -> str:
        """The message's ID."""
        return self.message.identifier


def inject(agent: Agent, request: Request, route: OutboxRoute) -> Response:
    """``POST /PREFIX/alice/``."""
    sender = authenticated_sender(agent, request, route.sender)
    require_type(request, "message/rfc822")
    named = request.GET.getall("to") or None
    pieces = body_pieces(request, agent.settings.max_message_size, "the message")
    submission = submit(agent, pieces, str(sender), named)
    message = submission.message
    location = f"{request.environ['SCRIPT_NAME']}/{message.path_name}/{message.identifier}"
    body = {
        "id": message.identifier,
        "message-id": message.message_id,
        "digest": repr_digest(message.digest),
        "size": message.size,
        "recipients": [
            {"address": status.recipient, "state": status.state}
            for status in outbox.statuses(agent.database, message.identifier)
        ],
    }
    return json_response(201 if submission.is_new else 200, body, {"Location": location})


def submit(
    agent: Agent, pieces: Iterable[bytes], sender: str, recipients: Sequence[str] | None
) -> Submission:
    """Takes in a message and queues it for each recipient; on disk when this returns.

    ``recipients``: exactly those; None: those of To, Cc and Bcc. Raises MalformedMessage, TooLarge,
    Forbidden (not her From), ImpossibleRecipients (nothing is sent to the others either), or
    DatabaseUnavailable and StorageFull, after which nothing is stored.
    """
    endpoint = Endpoint.parse(sender).canonical
    if not agent.accounts.acts_for(endpoint.domain):
        raise Misdirected(f"this agent does not act for {endpoint.domain}")
    now = agent.clock()
    settings = agent.settings

    def checked(block: bytes) -> Preamble:
        preamble = prepare(
            block,
            now=datetime.fromtimestamp(now, UTC),
            domain=endpoint.domain,
            new_identifier=new_identifier,
            limit=settings.max_header_size,
        )
        if preamble.sender is None and settings.domains[endpoint.domain].anonymous:
            return anonymised(preamble, domain=endpoint.domain, new_identifier=new_identifier)
        _require_own_from(preamble, endpoint)
        return preamble

    spooled = spool(
        pieces,
        checked,
        directory=settings.spool,
        header_limit=settings.max_header_size,
        limit=settings.max_message_size,
    )
    with spooled.file:
        found = _recipients(agent, spooled.preamble, recipients)
        message = StoredMessage(
            identifier=new_identifier(),
            sender=endpoint,
            message_id=spooled.preamble.message_id,
            digest=spooled.digest,
            size=spooled.size,
            created_at=now,
            expires_at=_expiry(spooled.preamble, now, settings.keep_for),
            withdrawn_at=None,
            alias=new_identifier() if spooled.preamble.sender is None else None,
        )
        stored = outbox.store(
            agent.database,
            message,
            spooled,
            [NewRecipient(recipient, new_code()) for recipient in found],
            settings.max_storage,
        )
    return Submission(stored, is_new=stored is message)


def _require_own_from(preamble: Preamble, endpoint: Endpoint) -> None:
    if preamble.sender is None:
        raise Forbidden(f"the message has no From; {endpoint.domain} does not send such")
    if preamble.sender.canonical != endpoint:
        raise Forbidden(f"From is not {endpoint}")
    for name in ("sender", "resent-from", "resent-sender"):
        for field in preamble.fields:
            if field.name.lower() == name and addresses(field.value) != (preamble.sender,):
                raise Forbidden(f"{field.name} is not {endpoint}")


def _recipients(
    agent: Agent, preamble: Preamble, named: Sequence[str] | None
) -> tuple[Endpoint, ...]:
    """The recipients, each once. Raises ImpossibleRecipients."""
    limit = agent.settings.max_recipients
    reasons: dict[str, str] = {}
    found: dict[str, Endpoint] = {}
    for given in preamble.recipients if named is None else named:
        try:
            endpoint = given if isinstance(given, Endpoint) else Endpoint.parse(given)
            if agent.accounts.acts_for(endpoint.domain) and agent.accounts.find(endpoint) is None:
                raise MalformedAddress(f"{endpoint.domain} has no such user")
        except MalformedAddress as error:
            reasons[str(given)[:320]] = str(error)
        else:
            found.setdefault(str(endpoint), endpoint)
    if len(found) > limit:
        reasons["To, Cc, Bcc"] = f"{len(found)} recipients, and at most {limit} are taken"
    if not found and not reasons:
        reasons["To, Cc, Bcc"] = "no recipient is named"
    if reasons:
        raise ImpossibleRecipients(reasons)
    return tuple(found.values())


def _expiry(preamble: Preamble, now: float, keep_for: float) -> float:
    """Until when it is kept: its own Expires (RFC 4021) if that is a date to come."""
    for field in preamble.fields:
        if field.name.lower() == "expires":
            try:
                wished = parsedate_to_datetime(field.value).timestamp()
            except (ValueError, OverflowError, OSError):
                continue
            if wished > now:
                return min(wished, now + LONGEST_KEPT)
    return now + keep_for
