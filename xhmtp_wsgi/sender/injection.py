"""Injection: an endpoint hands its agent a message to send (docs/protocol.md, section 4).

RFC 5598's submission. ``submit`` is the one way in: the view (injection_resource.py), the pages,
``XHMTP.submit`` and the commands all take it. What the agent itself sends for one of its groups
comes in by ``submit_for_group``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Forbidden, Misdirected
from xhmtp_wsgi.protocol.access_code import new_codes, new_identifier
from xhmtp_wsgi.protocol.anonymity import anonymised
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.message import Preamble, prepare
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.named_recipients import named_recipients
from xhmtp_wsgi.sender.outbox import StoredMessage
from xhmtp_wsgi.sender.sealed_contents import Content, contents
from xhmtp_wsgi.sender.sealing import (
    BY_CLIENT,
    Plan,
    Planned,
    Policy,
    Wish,
    plan,
    policy_for,
    shows_subject,
)
from xhmtp_wsgi.sender.spool import SpooledMessage, spool
from xhmtp_wsgi.sender.storing import NewRecipient, NewRepresentation, store

LONGEST_KEPT = 366 * 86400.0  # seconds: the most that a message's own Expires can ask for


@dataclass(frozen=True, slots=True)
class Queued:
    """A recipient who is about to be told; ``sealed``: to which kind of his keys."""

    recipient: str
    sealed: str | None
    state: State = State.QUEUED


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a message that was handed in."""

    message: StoredMessage
    is_new: bool
    plan: Plan | None = None
    """What was settled of sealing it; None where it came sealed, or from a group."""
    queued: tuple[Queued, ...] = ()
    """Who will be told of it; of what was handed in before, only the outbox knows."""

    @property
    def identifier(self) -> str:
        """The message's ID."""
        return self.message.identifier


def submit(
    agent: Agent,
    pieces: Iterable[bytes],
    sender: str,
    recipients: Sequence[str] | None,
    wish: Wish = Wish(),  # noqa: B008 - a frozen value
) -> Submission:
    """Takes in a message and queues it for each recipient; on disk when this returns.

    ``recipients``: exactly those; None: those of To, Cc and Bcc; ``wish``: how it is sealed. Raises
    MalformedMessage, TooLarge, Forbidden (not her From; less sealed than her domain demands),
    ImpossibleRecipients (nothing is sent to the others either), or DatabaseUnavailable and
    StorageFull, after which nothing is stored.
    """
    endpoint = _own_endpoint(agent, sender)
    now = agent.clock()
    wish = _settled(agent, endpoint, wish)
    confidential = wish.policy is not Policy.NEVER
    spooled = _spooled_of(agent, pieces, endpoint, now, confidential=confidential)
    with spooled.file:
        found = named_recipients(agent, spooled.preamble, recipients)
        if spooled.preamble.is_sealed:
            return _stored(agent, [Content(spooled, BY_CLIENT, found)], endpoint, now)
        planned = plan(agent, endpoint, found, wish)
        planned.require()
        subject = confidential and shows_subject(agent, endpoint, wish)
        with contents(agent, spooled, planned, subject=subject) as made:
            return replace(_stored(agent, made, endpoint, now), plan=planned)


def preview(
    agent: Agent,
    pieces: Iterable[bytes],
    sender: str,
    recipients: Sequence[str] | None,
    wish: Wish,
) -> Plan:
    """What would become of a message for each recipient; nothing is stored, nobody remembered.

    Raises as ``submit`` does, but not where a recipient would be refused: the plan tells that.
    """
    endpoint = _own_endpoint(agent, sender)
    wish = _settled(agent, endpoint, wish)
    confidential = wish.policy is not Policy.NEVER
    spooled = _spooled_of(agent, pieces, endpoint, agent.clock(), confidential=confidential)
    with spooled.file:
        found = named_recipients(agent, spooled.preamble, recipients)
        if spooled.preamble.is_sealed:
            return Plan(Policy.NEVER, tuple(map(Planned, found)), ())
        return plan(agent, endpoint, found, wish, remember=False)


def submit_for_group(
    agent: Agent,
    pieces: Iterable[bytes],
    group: Endpoint,
    recipients: Sequence[Endpoint],
    *,
    is_report: bool = False,
) -> Submission:
    """Takes in a message from a group of ours, made by the agent itself, as ``submit`` does.

    Who the recipients are is not looked at: whoever is not there any more is refused when he is
    told. ``is_report``: nobody is told what becomes of it. A group seals nothing: it passes on what
    its members could read. Raises as ``submit`` does.
    """
    now = agent.clock()
    spooled = _spooled(agent, pieces, group, now, lambda preamble: preamble)
    with spooled.file:
        content = Content(spooled, None, recipients)
        return _stored(agent, [content], group, now, is_report=is_report)


def _settled(agent: Agent, sender: Endpoint, wish: Wish) -> Wish:
    """The wish with the policy that holds in it, so that it is found out once. Raises Forbidden."""
    return replace(wish, policy=policy_for(agent, sender, wish))


def _own_endpoint(agent: Agent, sender: str) -> Endpoint:
    endpoint = Endpoint.parse(sender).canonical
    if not agent.accounts.acts_for(endpoint.domain):
        raise Misdirected(f"this agent does not act for {endpoint.domain}")
    return endpoint


def _spooled_of(
    agent: Agent, pieces: Iterable[bytes], endpoint: Endpoint, now: float, *, confidential: bool
) -> SpooledMessage:
    """A user's message, taken in; whether it is in her own name is checked by its header."""

    def checked(preamble: Preamble) -> Preamble:
        if preamble.sender is None and agent.settings.domains[endpoint.domain].anonymous:
            return anonymised(preamble, domain=endpoint.domain, new_identifier=new_identifier)
        _require_own_from(agent, preamble, endpoint)
        return preamble

    return _spooled(agent, pieces, endpoint, now, checked, confidential=confidential)


def _spooled(
    agent: Agent,
    pieces: Iterable[bytes],
    sender: Endpoint,
    now: float,
    check: Callable[[Preamble], Preamble],
    *,
    confidential: bool = False,
) -> SpooledMessage:
    settings = agent.settings

    def prepared(block: bytes) -> Preamble:
        return check(
            prepare(
                block,
                now=datetime.fromtimestamp(now, UTC),
                domain=sender.domain,
                new_identifier=new_identifier,
                limit=settings.max_header_size,
            )
        )

    return spool(
        pieces,
        prepared,
        directory=settings.spool,
        header_limit=settings.max_header_size,
        limit=settings.max_message_size,
        confidential=confidential,
    )


def _stored(
    agent: Agent,
    made: Sequence[Content],
    sender: Endpoint,
    now: float,
    *,
    is_report: bool = False,
) -> Submission:
    first = made[0].spooled
    message = StoredMessage(
        identifier=new_identifier(),
        sender=sender,
        message_id=first.preamble.message_id,
        digest=first.digest,
        size=first.size,
        created_at=now,
        expires_at=_expiry(first.preamble, now, agent.settings.keep_for),
        withdrawn_at=None,
        alias=_name_in_path(first.preamble, sender),
        sealed=made[0].sealed,
    )
    given = [
        NewRepresentation(
            one.spooled,
            one.sealed,
            list(map(NewRecipient, one.recipients, new_codes(len(one.recipients)))),
        )
        for one in made
    ]
    stored = store(agent.database, message, given, agent.settings.max_storage, is_report=is_report)
    if stored is not message:
        return Submission(stored, is_new=False)
    queued = tuple(Queued(str(each), one.sealed) for one in made for each in one.recipients)
    return Submission(stored, is_new=True, queued=queued)


def _name_in_path(preamble: Preamble, sender: Endpoint) -> str | None:
    """What stands for the sender in the message's URL, where she is not to be known by it."""
    if preamble.sender is None:
        return new_identifier()
    author = preamble.sender.canonical
    return None if author == sender else author.local


def _require_own_from(agent: Agent, preamble: Preamble, endpoint: Endpoint) -> None:
    if preamble.sender is None:
        raise Forbidden(f"the message has no From; {endpoint.domain} does not send such")
    if not agent.addressing.may_send_as(endpoint, preamble.sender):
        raise Forbidden(f"From is not {endpoint}")
    for name in ("sender", "resent-from", "resent-sender"):
        for field in preamble.fields:
            if field.name.lower() == name and addresses(field.value) != (preamble.sender,):
                raise Forbidden(f"{field.name} is not {preamble.sender}")


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
