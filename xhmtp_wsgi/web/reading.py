"""Opening a message for its owner: who has it, who may ask for it, and whether a copy is kept.

In this order: the copy that is kept; our own outbox, where the sender is of this agent too (no
connection is opened: a site of one worker would wait for itself); the sender's agent, if the
setting ``reading`` of the owner's domain has it so. What was fetched is kept if the owner has
chosen that (the preference ``keep``), and found by its words from then on.

A slow agent of others must not hold all threads of a site: at most ``reading_at_once`` messages are
on their way in one process, each for PATIENCE seconds at the most.

Security: the sender's agent sees our address and our program's name, nothing of the reader's; and
it is reached through ``network`` alone, by addresses that were vetted.
"""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from webob import Request

from xhmtp_wsgi import preferences, search
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import (
    Forbidden,
    NotAuthenticated,
    NotFound,
    TooLarge,
    TooMany,
    Transient,
    XHMTPError,
)
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.recipient import inbox, kept_copies, reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.reading import ReadMessage
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.routes import MessageRoute, parse_route
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.author_keys import keys_of
from xhmtp_wsgi.sender.fetch import fetch
from xhmtp_wsgi.web.known_senders import is_known
from xhmtp_wsgi.web.shown_text import text_of_message

logger = logging.getLogger(__name__)

PATIENCE = 20.0  # seconds for which a page may wait
TURN_WAIT = 0.5  # seconds for which it waits for its turn
BUSY_FOR = 5.0  # seconds after which one may try again
KEEP, NEVER, KNOWN, ALWAYS = "keep", "never", "known", "always"
"""The preference, and what it may be."""


class Source(StrEnum):
    """Where the octets of a message came from."""

    COPY = "copy"
    OWN = "own"
    SENDER = "sender"


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that was opened; ``kept``: a copy of it is."""

    octets: bytes = field(repr=False)
    checks: tuple[Check, ...]
    source: Source
    kept: bool


class NotSwitchedOn(Forbidden):
    """The owner's domain does not have its agent fetch messages."""


def open_message(agent: Agent, owner: Endpoint, notice: Notice, *, keep: bool = False) -> Opened:
    """The message of a notice; ``keep``: a copy of it, whatever the owner has chosen.

    Raises NotSwitchedOn, TooMany where others are being fetched, or as ``reading.read`` does.
    """
    copy = kept_copies.kept(agent.database, notice.identifier)
    if copy is not None:
        return Opened(*copy, Source.COPY, kept=True)
    found, source = _found(agent, owner, notice)
    kept = keep or _wants_copy(agent, owner, notice)
    if kept:
        kept = keep_copy(agent, owner, notice, found)
    return Opened(found.octets, found.checks, source, kept)


def keep_copy(agent: Agent, owner: Endpoint, notice: Notice, found: ReadMessage) -> bool:
    """Keeps a copy, to be found by its words; returns whether that could be done."""
    told = inbox.searchable(header_fields(notice.headers))
    words = f"{told} {text_of_message(found.octets)}"
    database = agent.database
    try:
        kept_copies.keep(database, notice.identifier, found.octets, found.checks, agent.clock())
        with database.transaction() as connection:
            search.put(connection, owner, inbox.SEARCH_KIND, notice.identifier, words)
    except Transient as error:
        # To read it matters more than to keep it.
        logger.warning("a copy could not be kept: %s", error)
        return False
    return True


def _wants_copy(agent: Agent, owner: Endpoint, notice: Notice) -> bool:
    chosen = preferences.get(agent.database, owner, KEEP, NEVER)
    return chosen == ALWAYS or (chosen == KNOWN and is_known(agent, owner, notice))


def _found(agent: Agent, owner: Endpoint, notice: Notice) -> tuple[ReadMessage, Source]:
    url = MessageURL.parse(notice.url)
    own = _own_message(agent, url)
    if own is not None:
        octets = _from_own_outbox(agent, url, own)
        keys = _keys_of_ours(agent)
        return reading.checked(agent, owner, notice, octets, keys), Source.OWN
    if not agent.settings.domains[owner.domain].reading:
        raise NotSwitchedOn(f"{owner.domain} does not fetch messages for its users")
    with _turns.one_of(agent.settings.reading_at_once):
        return reading.read(agent, owner, notice, within=PATIENCE), Source.SENDER


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
    request = Request.blank("/", headers={"Accept": "message/rfc822", "Authorization": credentials})
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
        return keys_of(agent.database, author)

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
