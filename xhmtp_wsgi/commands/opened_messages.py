"""Opens a message for its owner, as the pages do; and where they may not, at the terminal one may.

The pages fetch only where the setting ``reading`` has it so, since anybody can make a web process
open a page. Here its owner asks, or whoever has the database; so there is no such question, and
more patience.

What is sealed is opened in memory, with keys that are handed in; a copy that is kept stays sealed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xhmtp_wsgi import preferences
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.asking import asked
from xhmtp_wsgi.commands.identity_files import HOW, IdentityFiles
from xhmtp_wsgi.errors import DeadlineExceeded, MalformedSeal, NotSealedToThese, TooMany
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.recipient import held_keys, reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.reading import ReadMessage
from xhmtp_wsgi.recipient.unsealing import SEALED, is_sealed_notice, unseal_message
from xhmtp_wsgi.recipient.verdict import NONE, Check

if TYPE_CHECKING:
    from xhmtp_wsgi.protocol.sealing import Identity


def open_message(agent: Agent, owner: Endpoint, notice: Notice) -> ReadMessage:
    """The message as it came, and what was checked of it: from a copy, else from its sender.

    A copy is kept if the owner has chosen that. Raises what ``reading.read`` does.
    """
    # Imported late: they bring templates, and half of the commands need none of it.
    from xhmtp_wsgi.web import reading as pages
    from xhmtp_wsgi.web.known_senders import is_known

    try:
        opened = pages.open_message(agent, owner, notice)
    except (pages.NotSwitchedOn, TooMany, DeadlineExceeded):
        found = reading.read(agent, owner, notice)
        chosen = preferences.get(agent.database, owner, pages.KEEP, pages.NEVER)
        if chosen == pages.ALWAYS or (chosen == pages.KNOWN and is_known(agent, owner, notice)):
            pages.keep_copy(agent, owner, notice, found)
        return found
    return ReadMessage(opened.octets, opened.checks)


def is_sealed_message(notice: Notice, message: ReadMessage) -> bool:
    """Is it an age file, or told to be one?"""
    from xhmtp_wsgi.protocol.sealing import is_sealed

    return is_sealed_notice(notice) or is_sealed(message.octets[: reading.SEALED_START])


def unsealed(
    agent: Agent,
    owner: Endpoint,
    notice: Notice,
    message: ReadMessage,
    identities: "Sequence[Identity]",
) -> ReadMessage:
    """The message inside, and what was checked of both. Raises what ``unseal_message`` does."""
    published = reading.keys_over_network(agent, agent.monotonic() + reading.PATIENCE)
    found = unseal_message(agent, owner, notice, message.octets, identities, published)
    return ReadMessage(found.octets, (*message.checks, *found.checks))


def unsealed_by(
    agent: Agent, owner: Endpoint, notice: Notice, message: ReadMessage, files: IdentityFiles
) -> ReadMessage:
    """The message inside, opened with his own keys, else with those that his agent holds.

    Asks for a passphrase or password where it must. Raises NotSealedToThese, NoTerminal, or as
    ``unseal_message`` does.
    """
    is_held = held_keys.has_any(agent.database, owner)
    if files:
        try:
            return unsealed(agent, owner, notice, message, files.identities())
        except NotSealedToThese:
            if not is_held:
                raise
    elif not is_held:
        raise NotSealedToThese(f"the message is sealed; to open it, {HOW}")
    password = asked(f"Password of {owner}, to open what is sealed")
    identities = held_keys.unlock(agent.database, owner, password)
    return unsealed(agent, owner, notice, message, identities)


def still_sealed(notice: Notice, message: ReadMessage) -> ReadMessage:
    """The same as a message that a mail program can keep, with the age file in its armour inside.

    Raises MalformedSeal where it is no age file.
    """
    from xhmtp_wsgi.protocol.sealed_message import TYPE, as_message
    from xhmtp_wsgi.protocol.sealing import is_sealed

    if not is_sealed(message.octets[: reading.SEALED_START]):
        raise MalformedSeal("it was told to be sealed, and is no age file")
    told = scan(notice.headers, len(notice.headers))
    kept = b"".join(field.raw for field in told if not _is_of_the_body(field.name.lower()))
    header = kept + f"MIME-Version: 1.0\r\nContent-Type: {TYPE}\r\n".encode()
    check = Check(SEALED, NONE, "it is sealed, and no key was given to open it")
    return ReadMessage(as_message(header, message.octets), (*message.checks, check))


def _is_of_the_body(name: str) -> bool:
    """Is it a field that tells of the body as its sender's agent keeps it?"""
    return name.startswith("content-") or name in ("mime-version", "repr-digest", "expires")
