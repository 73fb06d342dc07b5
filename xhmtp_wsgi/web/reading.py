"""Opening a message for its owner, and whether a copy is kept.

Where the octets come from is told in ``xhmtp_wsgi.opening``. What was fetched is kept if the owner
has chosen that (the preference ``keep``), and found by its words from then on. A sealed message is
kept as it is, sealed: what ``open_message`` returns of it is the age file, and ``unlocked`` opens
that.
"""

import logging
from dataclasses import dataclass, field

from xhmtp_wsgi import preferences, search
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Transient
from xhmtp_wsgi.opening import NotSwitchedOn, Source, find_octets
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import is_sealed
from xhmtp_wsgi.recipient import inbox, kept_copies
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.reading import SEALED_START, ReadMessage
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.web.known_senders import is_known
from xhmtp_wsgi.web.shown_text import text_of_message

__all__ = [
    "ALWAYS", "KEEP", "KNOWN", "NEVER", "NotSwitchedOn", "Opened", "Source", "keep_copy",
    "open_message",
]  # fmt: skip

logger = logging.getLogger(__name__)

KEEP, NEVER, KNOWN, ALWAYS = "keep", "never", "known", "always"
"""The preference, and what it may be."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that was opened; ``kept``: a copy of it is; ``sealed``: it is, or was, an age file.

    ``octets``: of ``open_message`` as they came; the message itself once it is unsealed.
    """

    octets: bytes = field(repr=False)
    checks: tuple[Check, ...]
    source: Source
    kept: bool
    sealed: bool = False


def open_message(agent: Agent, owner: Endpoint, notice: Notice, *, keep: bool = False) -> Opened:
    """The message of a notice; ``keep``: a copy of it, whatever the owner has chosen.

    Raises NotSwitchedOn, TooMany where others are being fetched, or as ``reading.read`` does.
    """
    found = find_octets(agent, owner, notice)
    kept = found.source is Source.COPY
    if not kept and (keep or _wants_copy(agent, owner, notice)):
        message = ReadMessage(found.octets, found.checks)
        kept = keep_copy(agent, owner, notice, message)
    sealed = is_sealed_notice(notice) or is_sealed(found.octets[:SEALED_START])
    return Opened(found.octets, found.checks, found.source, kept, sealed)


def keep_copy(agent: Agent, owner: Endpoint, notice: Notice, found: ReadMessage) -> bool:
    """Keeps a copy, to be found by its words; returns whether that could be done.

    Of a sealed message ``found`` is the age file, and its words are those that anybody may see.
    """
    words = inbox.searchable(header_fields(notice.headers))
    if not is_sealed(found.octets[:SEALED_START]):
        words = f"{words} {text_of_message(found.octets)}"
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
