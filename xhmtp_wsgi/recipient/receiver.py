"""The receiver: takes notifications for our endpoints (docs/protocol.md, sections 5 and 6).

RFC 5598's delivery step. Cheap checks come first; the DNS is asked last, and a message is never
fetched from here. One notification is taken as a batch of one is.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

from webob import Request, Response

from xhmtp_wsgi.addressing import Kind
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.arrival import Arrival
from xhmtp_wsgi.client_address import Address, client_address
from xhmtp_wsgi.errors import (
    DNSUnavailable,
    Misdirected,
    Moved,
    NotFound,
    Permanent,
    XHMTPError,
)
from xhmtp_wsgi.protocol.batch import (
    ANNOUNCED_IN,
    Announcement,
    Answer,
    answers_as_json,
    parse_batch,
)
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.notification import FORM, Notification
from xhmtp_wsgi.rate_limits import Rate, network_of
from xhmtp_wsgi.recipient.admission import Admission, Admitted, owner_of
from xhmtp_wsgi.recipient.filters import rules_for_all
from xhmtp_wsgi.recipient.forwarding import moved_to
from xhmtp_wsgi.recipient.taking import Incoming, take_all
from xhmtp_wsgi.recipient.verdict import PASS
from xhmtp_wsgi.request_body import require_type, whole_body
from xhmtp_wsgi.responses import json_response, retry_after_of, status_of
from xhmtp_wsgi.routes import DomainRoute, InboxRoute

logger = logging.getLogger(__name__)

FORWARDS_WITHIN = 5.0  # seconds of a batch in which it is found out where inboxes have moved to
MOST_SAID = 200  # characters to one of a batch: a hundred are an answer that any sender reads

Received: TypeAlias = bool | XHMTPError
"""What became of a notification: was it new? Or why it is not taken."""


def notify(agent: Agent, request: Request, route: InboxRoute) -> Response:
    """``POST /PREFIX/bob@B``: 201 taken, 200 had it already; 202 where the domain does not tell.

    308 for an inbox that is another agent's now.
    """
    (received,) = _counted(agent, [_one(agent, request, route.endpoint)])
    if isinstance(received, XHMTPError):
        raise received
    status, word = _success(agent, route.endpoint, received)
    answer = {"status": word, "recipient": str(route.endpoint)}
    return json_response(status, answer, _announcement(agent))


def notify_many(agent: Agent, request: Request, route: DomainRoute) -> Response:
    """``POST /PREFIX/@B``: many for that domain, each answered as if it had come alone."""
    settings = agent.settings
    if settings.max_batch < 2:
        raise NotFound("there is no such resource")
    require_type(request, FORM)
    body = whole_body(request, settings.max_batch_size, "the batch")
    source = _let_in(agent, request)
    _require_ours(agent, route.domain)
    given = parse_batch(
        body,
        domain=route.domain,
        header_limit=settings.max_notification_headers,
        most=settings.max_batch,
    )
    admission = Admission(agent, request, body, source)
    received = _counted(agent, _receive(agent, admission, given, source))
    answers = [_answer(agent, one, result) for one, result in zip(given, received, strict=True)]
    return json_response(200, answers_as_json(answers), _announcement(agent))


def _one(agent: Agent, request: Request, recipient: Endpoint) -> Received:
    """Takes the notification of a request."""
    settings = agent.settings
    try:
        require_type(request, FORM)
        body = whole_body(request, settings.max_notification_size, "the notification")
        source = _let_in(agent, request)
        _require_ours(agent, recipient.domain)
        notification = Notification.parse(
            body, recipient=recipient, header_limit=settings.max_notification_headers
        )
        admission = Admission(agent, request, body, source)
        (received,) = _receive(agent, admission, [notification], source)
    except XHMTPError as error:
        return error
    return received


def _let_in(agent: Agent, request: Request) -> Address | None:
    """The address that a request came from. Raises TooMany."""
    source = client_address(request, agent.settings.trusted_proxies)
    # Before anything that a flood could make us do: the database, the DNS, and signatures.
    _count_source(agent, source)
    return source


def _count_source(agent: Agent, source: Address | None) -> None:
    rate = Rate(agent.settings.notifications_per_second, agent.settings.notification_burst)
    agent.rate_limits.take(f"source:{network_of(source)}", rate, "notifications")


def _require_ours(agent: Agent, domain: str) -> None:
    if not agent.accounts.acts_for(domain):
        raise Misdirected(f"this agent does not act for {domain}")


def _receive(
    agent: Agent,
    admission: Admission,
    given: Sequence[Notification | XHMTPError],
    source: Address | None,
) -> list[Received]:
    """Checks notifications of one request and stores them; the first was let in already."""
    recipients = [one.url.recipient for one in given if isinstance(one, Notification)]
    destinations = agent.addressing.resolve_all(dict.fromkeys(recipients))
    pairs = {one: (one, owner_of(one, there)) for one, there in destinations.items()}
    rules = rules_for_all(agent.database, set(pairs.values())) if pairs else {}
    until = agent.monotonic() + FORWARDS_WITHIN
    decided: list[Admitted | XHMTPError] = []
    for number, one in enumerate(given):
        try:
            if number:
                _count_source(agent, source)
            if isinstance(one, XHMTPError):
                raise one
            recipient = one.url.recipient
            admitted = admission.admit(
                recipient, destinations[recipient], rules[pairs[recipient]], one
            )
            _require_here(agent, admitted, until)
        except XHMTPError as error:
            decided.append(error)
        else:
            decided.append(admitted)
    return _stored(agent, decided, source)


def _require_here(agent: Agent, admitted: Admitted, until: float) -> None:
    """Raises Moved for an inbox that is another agent's now."""
    there = admitted.destination
    if there is not None and admitted.is_kept and there.kind is Kind.ELSEWHERE:
        if agent.monotonic() > until:
            raise DNSUnavailable("where the inbox is now is found out another time")
        raise moved_to(agent.discovery, there.endpoint)


def _stored(
    agent: Agent, decided: Sequence[Admitted | XHMTPError], source: Address | None
) -> list[Received]:
    """Puts what was admitted into the inboxes, with what other threads have, in one transaction."""
    admitted = [one for one in decided if isinstance(one, Admitted)]
    incoming = [
        Incoming(
            one.owner,
            one.notification,
            one.checks.done,
            str(source),
            agent.clock(),
            quarantined=one.is_quarantined,
            is_kept=one.is_kept,
        )
        for one in admitted
    ]
    store = partial(take_all, agent.database, most=agent.settings.max_inbox)
    taken = iter(agent.arrivals.do(incoming, store) if incoming else ())
    received: list[Received] = []
    for one in decided:
        result = one if isinstance(one, XHMTPError) else next(taken)
        if isinstance(result, str) and isinstance(one, Admitted):
            _tell_site(agent, one, result)
        received.append(result if isinstance(result, XHMTPError) else result is not None)
    return received


def _tell_site(agent: Agent, admitted: Admitted, identifier: str) -> None:
    """What the site does with it is the site's: it fails alone, and the notification is taken."""
    there = admitted.destination
    if there is None or not admitted.is_kept or there.kind is not Kind.MAILBOX:
        return
    notification = admitted.notification
    arrival = Arrival(
        recipient=str(admitted.owner),
        sender=None if notification.author is None else str(notification.author),
        subject=display(notification.values.get("subject", "")),
        identifier=identifier,
        url=notification.url.with_credentials(),
        quarantined=admitted.is_quarantined,
        passed=frozenset(check.name for check in admitted.checks.done if check.result == PASS),
    )
    try:
        agent.on_arrival(arrival)
    except Exception:
        logger.exception("the site's own code failed for the arrival %s", identifier)


def _counted(agent: Agent, received: list[Received]) -> list[Received]:
    for one in received:
        agent.counters.count(f"notifications:{_word(one)}")
    return received


def _word(received: Received) -> str:
    if isinstance(received, Moved):
        return "forwarded"
    if isinstance(received, Permanent):
        return "refused"
    if isinstance(received, XHMTPError):
        return "put off"
    return "taken" if received else "repeated"


def _success(agent: Agent, recipient: Endpoint, is_new: bool) -> tuple[int, str]:
    """The code of what was taken, and a word for it."""
    if agent.settings.domains[recipient.domain].unknown_recipients == "hide":
        return 202, "taken"
    return (201, "taken") if is_new else (200, "had it already")


def _answer(agent: Agent, given: Notification | XHMTPError, received: Received) -> Answer:
    """What one of a batch is answered."""
    if isinstance(received, XHMTPError) or isinstance(given, XHMTPError):
        error = received if isinstance(received, XHMTPError) else given
        assert isinstance(error, XHMTPError)  # noqa: S101 - what was malformed is not received
        location = error.location if isinstance(error, Moved) else None
        return Answer(status_of(error), str(error)[:MOST_SAID], location, retry_after_of(error))
    return Answer(_success(agent, given.url.recipient, received)[0])


def _announcement(agent: Agent) -> dict[str, str]:
    """The field that says how many are taken in one request (section 5)."""
    settings = agent.settings
    if settings.max_batch < 2:
        return {}
    return {ANNOUNCED_IN: str(Announcement(settings.max_batch, settings.max_batch_size))}
