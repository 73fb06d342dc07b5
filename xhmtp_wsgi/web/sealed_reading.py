"""A message in a visit: unsealed where it is sealed, and its owner has unlocked his key.

What was opened is remembered for lists, conversations and search in an extract that his key alone
opens (recipient/sealed_extracts).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from xhmtp_wsgi import opening
from xhmtp_wsgi.errors import Transient
from xhmtp_wsgi.protocol.conversation import identifiers, thread_of
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.recipient import inbox, sealed_extracts
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.sealed_extracts import Inside
from xhmtp_wsgi.recipient.unsealing import (
    Unsealed,
    is_sealed_notice,
    true_fields,
    unseal_message,
)
from xhmtp_wsgi.secret_box import Locked
from xhmtp_wsgi.web.reading import NotSwitchedOn, Opened, open_message
from xhmtp_wsgi.web.shown_text import text_of_message
from xhmtp_wsgi.web.visit import Visit

logger = logging.getLogger(__name__)


def open_for(visit: Visit, notice: Notice, *, keep: bool = False) -> Opened:
    """The message of a notice, its true header and all.

    Raises Locked for a sealed one where no key is unlocked, and asks nobody for it then; else as
    ``open_message`` or ``unseal_message`` do.
    """
    if is_sealed_notice(notice) and not visit.is_unlocked:
        _require_at_hand(visit, notice)
        raise Locked("the message is sealed, and your keys are locked")
    opened = open_message(visit.agent, visit.owner, notice, keep=keep)
    if not opened.sealed:
        return opened
    if not visit.is_unlocked:
        raise Locked("the message is sealed, and your keys are locked")
    found = unseal_message(
        visit.agent,
        visit.owner,
        notice,
        opened.octets,
        visit.identities,
        opening.author_keys(visit.agent, visit.owner),
    )
    _remember(visit, notice, found)
    return replace(opened, octets=found.octets, checks=(*opened.checks, *found.checks))


def inside_of(visit: Visit, notice: Notice) -> Inside | None:
    """What is remembered of a sealed message, where his key is unlocked."""
    return insides(visit, [notice]).get(notice.identifier)


def insides(visit: Visit, notices: Sequence[Notice]) -> Mapping[str, Inside]:
    """The same of those among several, by their ID."""
    sealed = [one.identifier for one in notices if is_sealed_notice(one)]
    if not sealed or not visit.is_unlocked:
        return {}
    return sealed_extracts.insides(visit.database, visit.identities, sealed)


def _require_at_hand(visit: Visit, notice: Notice) -> None:
    """Raises NotSwitchedOn for a message that a password would not help to."""
    if not opening.is_at_hand(visit.agent, visit.owner, notice):
        raise NotSwitchedOn(f"{visit.owner.domain} does not fetch messages for its users")


def _remember(visit: Visit, notice: Notice, found: Unsealed) -> None:
    """Writes the extract, unless it is there and can be read."""
    if not is_sealed_notice(notice) or inside_of(visit, notice) is not None:
        return
    fields = true_fields(notice, found.octets)
    inside = Inside(
        subject=display(fields.get("subject", "")),
        author=display(fields.get("from", "")),
        thread=_thread(visit, fields),
    )
    words = f"{inbox.searchable(fields)} {text_of_message(found.octets)}"
    try:
        sealed_extracts.note(
            visit.database,
            notice.identifier,
            inside,
            words,
            found.identity,
            visit.agent.clock(),
        )
    except Transient as error:
        # To read it matters more than to find it again.
        logger.warning("an extract could not be written: %s", error)


def _thread(visit: Visit, fields: Mapping[str, str]) -> str:
    """The conversation it belongs to; that of what it answers, where that is here."""
    answered = identifiers(fields.get("in-reply-to", ""))
    if answered and not fields.get("references"):
        known = sealed_extracts.thread_of_answered(
            visit.database, visit.owner, visit.identities, answered[0]
        )
        if known:
            return known
    return thread_of(fields)
