"""Who has a message, and who may ask for it: for the pages and for the resources in JSON.

In this order: the copy that is kept; our own outbox, where the sender is of this agent too (no
connection is opened: a site of one worker would wait for itself); the sender's agent, if the
setting ``reading`` of the owner's domain has it so.

A slow agent of others must not hold all threads of a site: at most ``reading_at_once`` messages are
on their way in one process, each for PATIENCE seconds at the most.

Security: the sender's agent sees our address and our program's name, nothing of the reader's; and
it is reached through ``network`` alone, by addresses that were vetted.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from webob import Request

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import (
    Forbidden,
    NotAuthenticated,
    NotFound,
    TooLarge,
    TooMany,
    XHMTPError,
)
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.recipient import kept_copies, reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.routes import MessageRoute, parse_route
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.fetch import fetch
from xhmtp_wsgi.sender.keys_resource import published_keys

PATIENCE = 20.0  # seconds for which a page may wait
TURN_WAIT = 0.5  # seconds for which it waits for its turn
BUSY_FOR = 5.0  # seconds after which one may try again


class Source(StrEnum):
    """Where the octets of a message came from."""

    COPY = "copy"
    OWN = "own"
    SENDER = "sender"


@dataclass(frozen=True, slots=True)
class Found:
    """The octets of a message, sealed if it is, and what was checked of them."""

    octets: bytes = field(repr=False)
    checks: tuple[Check, ...]
    source: Source


class NotSwitchedOn(Forbidden):
    """The owner's domain does not have its agent fetch messages."""


def find_octets(agent: Agent, owner: Endpoint, notice: Notice) -> Found:
    """The message of a notice.

    Raises NotSwitchedOn, TooMany where others are being fetched, or as ``reading.read`` does.
    """
    copy = kept_copies.kept(agent.database, notice.identifier)
    if copy is not None:
        return Found(*copy, Source.COPY)
    url = MessageURL.parse(notice.url)
    own = _own_message(agent, url)
    if own is not None:
        octets = _from_own_outbox(agent, url, own)
        found = reading.checked(agent, owner, notice, octets, _keys_of_ours(agent))
        return Found(found.octets, found.checks, Source.OWN)
    _require_switched_on(agent, owner)
    with _turns.one_of(agent.settings.reading_at_once):
        found = reading.read(agent, owner, notice, within=PATIENCE, own_keys=_keys_of_ours(agent))
    return Found(found.octets, found.checks, Source.SENDER)


def is_at_hand(agent: Agent, owner: Endpoint, notice: Notice) -> bool:
    """May ``find_octets`` look for it, as far as the settings say? Asks nobody for it."""
    return (
        agent.settings.domains[owner.domain].reading
        or bool(kept_copies.which(agent.database, [notice.identifier]))
        or _own_message(agent, MessageURL.parse(notice.url)) is not None
    )


def author_keys(agent: Agent, owner: Endpoint) -> reading.PublishedKeys:
    """What authors publish, as far as the owner's domain has it asked for.

    For what is found inside of a sealed message: as ``find_octets`` asks for those of others.
    """
    over_network = reading.keys_over_network(
        agent, agent.monotonic() + PATIENCE, _keys_of_ours(agent)
    )

    def published(author: Endpoint) -> Sequence[PublicKey]:
        if agent.accounts.acts_for(author.domain):
            return over_network(author)
        _require_switched_on(agent, owner)
        with _turns.one_of(agent.settings.reading_at_once):
            return over_network(author)

    return published


def _require_switched_on(agent: Agent, owner: Endpoint) -> None:
    if not agent.settings.domains[owner.domain].reading:
        raise NotSwitchedOn(f"{owner.domain} does not fetch messages for its users")


def _own_message(agent: Agent, url: MessageURL) -> MessageRoute | None:
    """Which message of our own outbox that is; None for one of another agent's."""
    for domain in agent.settings.domains:
        try:
            start = f"/{agent.prefixes.of(domain)}/"
            if not url.path.startswith(start):
                continue
            below = unquote_to_bytes(url.path[len(start) - 1 :]).decode("latin-1")
            route = parse_route(below)
            if not isinstance(route, MessageRoute):
                continue
            # First what costs nothing: only of an ID of ours is it asked where we are.
            if outbox.find(agent.database, route.identifier) is None:
                continue
            own = agent.url_of(domain)
        except XHMTPError:
            continue
        if (own.scheme, own.host, own.port) == (url.scheme, url.host, url.port):
            return route
    return None


def _from_own_outbox(agent: Agent, url: MessageURL, route: MessageRoute) -> bytes:
    """The octets, by the same view that anybody gets them from: the wings meet nowhere else."""
    credentials = basic_credentials(str(url.recipient), url.code)
    headers = {"Accept": "message/rfc822, application/age", "Authorization": credentials}
    request = Request.blank("/", headers=headers)
    try:
        answer = fetch(agent, request, route)
    except NotAuthenticated:
        raise NotFound("the message is not here") from None
    if answer.content_length > reading.MOST:
        raise TooLarge("the message", reading.MOST)
    return b"".join(answer.app_iter)


def _keys_of_ours(agent: Agent) -> reading.PublishedKeys:
    def published(author: Endpoint) -> Sequence[PublicKey]:
        if not agent.accounts.acts_for(author.domain):
            raise NotFound("that is no user of this agent")
        return published_keys(agent, author).signing

    return published


class _Turns:
    """How many messages are on their way in this process."""

    def __init__(self) -> None:
        self._start_afresh()

    @contextmanager
    def one_of(self, most: int) -> Iterator[None]:
        """Waits a little for a turn. Raises TooMany."""
        if self._process != os.getpid():
            # What the parent was fetching is not fetched here.
            self._start_afresh()
        condition = self._condition
        with condition:
            if not condition.wait_for(lambda: self._taken < most, TURN_WAIT):
                raise TooMany("other messages are being fetched just now", BUSY_FOR)
            self._taken += 1
        try:
            yield
        finally:
            with condition:
                self._taken -= 1
                condition.notify()

    def _start_afresh(self) -> None:
        self._taken = 0
        self._condition = threading.Condition()
        self._process = os.getpid()


_turns = _Turns()
