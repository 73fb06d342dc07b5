"""A message that its author's own program takes in, to seal it: whole, and checked.

It is in the clear in memory alone: what waits in a temporary file is encrypted (sender/spool.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedMessage, Unprocessable
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message import Preamble, author_of, prepare
from xhmtp_wsgi.sender.spool import SpooledMessage, spool


@dataclass(frozen=True, slots=True)
class Draft:
    """The message, who sends it, and to whom, each once."""

    message: SpooledMessage
    author: Endpoint
    recipients: tuple[Endpoint, ...]


@contextmanager
def taken_in(
    agent: Agent, pieces: Iterable[bytes], sender: str | None, to: Sequence[str]
) -> Iterator[Draft]:
    """Takes it in; gone when this ends.

    ``sender``: None for who is in From; ``to``: exactly those, or, if empty, those of To, Cc and
    Bcc. Raises MalformedMessage, MalformedAddress, TooLarge, StorageFull, or Unprocessable.
    """
    settings, named = agent.settings, None if sender is None else Endpoint.parse(sender)

    def prepared(block: bytes) -> Preamble:
        author = named or author_of(block)
        if author is None:
            raise MalformedMessage("the message has no From; name the sender with --from")
        return prepare(
            block,
            now=datetime.fromtimestamp(agent.clock(), UTC),
            domain=author.domain,
            new_identifier=new_identifier,
            limit=settings.max_header_size,
        )

    message = spool(
        pieces,
        prepared,
        directory=settings.spool,
        header_limit=settings.max_header_size,
        limit=settings.max_message_size,
        confidential=True,
    )
    with message.file:
        preamble = message.preamble
        if preamble.is_sealed:
            raise Unprocessable("the message is sealed already")
        author = named or preamble.sender
        recipients = tuple(dict.fromkeys(map(Endpoint.parse, to))) or preamble.recipients
        if author is None or not recipients:
            raise Unprocessable("no recipient is named: in To, Cc or Bcc, or with --to")
        yield Draft(message, author, recipients)
