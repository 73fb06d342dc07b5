"""A message as the age files that its recipients need, made by its author's own program.

As few as can be: one for all whose keys are of one kind, one for each whom the others may not see.
To an agent each is a message of its own, and it sends no Message-ID twice: so the copy that the
first recipient gets keeps the Message-ID, and each other has one of its own, inside and outside.

Security: no copy tells of another, nor of a recipient that its readers may not see.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from xhmtp_wsgi.commands.author_key import AuthorKey
from xhmtp_wsgi.disk import os_errors
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.encoded_fields import mailboxes_field
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import Field
from xhmtp_wsgi.protocol.mailbox_list import Mailbox
from xhmtp_wsgi.protocol.message import Preamble
from xhmtp_wsgi.protocol.sealed_message import outer_fields
from xhmtp_wsgi.protocol.sealing import Recipient, seal
from xhmtp_wsgi.sender.sealing import Plan, Planned, Policy
from xhmtp_wsgi.sender.spool import SpooledMessage

_PIECE = 256 << 10  # octets


@dataclass(frozen=True, slots=True)
class Copy:
    """One age file to be: whom it is for, to which keys, and its header inside."""

    recipients: tuple[Endpoint, ...]
    keys: tuple[Recipient, ...]
    fields: tuple[Field, ...]

    @property
    def message_id(self) -> str:
        """Its Message-ID, the same inside and outside."""
        return next(one.value for one in self.fields if one.name.lower() == "message-id")


def copies(
    preamble: Preamble,
    keys: Mapping[Endpoint, tuple[Recipient, ...]],
    own: tuple[Recipient, ...],
    domain: str,
) -> list[Copy]:
    """The copies of a message for those of its recipients who are named in ``keys``.

    The one that keeps the Message-ID, if it is among them, is the first. ``own``: keys of its
    author's, to which one copy of their kind is sealed too, if there is one; ``domain``: that of
    new Message-IDs.
    """
    planned = tuple(Planned(endpoint, keys=found) for endpoint, found in keys.items())
    parts = Plan(Policy.ALWAYS, planned, own).parts(preamble.visible)
    first = (*preamble.visible, *preamble.recipients, *keys)[0]
    found: list[Copy] = []
    for part in parts:
        if first in part.recipients:
            found.insert(0, Copy(part.recipients, part.keys, preamble.fields))
        elif part.recipients:
            found.append(Copy(part.recipients, part.keys, _renamed(preamble.fields, domain)))
    return found


def shared_copy(
    preamble: Preamble, recipients: tuple[Endpoint, ...], keys: tuple[Recipient, ...]
) -> Copy:
    """The one copy for all, sealed to these keys."""
    return Copy(recipients, keys, preamble.fields)


def sealed_to(
    file: BinaryIO,
    message: SpooledMessage,
    copy: Copy,
    *,
    author_key: AuthorKey | None,
    show_subject: bool,
) -> None:
    """Writes a copy as it is handed in: its outer header, for whom it is, and the age file.

    Raises MixedKeys, TooLarge, or what signing does.
    """
    recipients = [Mailbox("", endpoint) for endpoint in copy.recipients]
    for field in outer_fields(copy.fields, subject=show_subject):
        file.write(field.raw)
    # Read by her agent and taken out: to nobody else it is told who gets it.
    file.write(mailboxes_field("Bcc", recipients) + b"\r\n")
    inside = _inside(message, copy)
    if author_key is not None:
        inside = iter([author_key.signed(b"".join(inside))])
    for piece in seal(inside, copy.keys):
        file.write(piece)


def sealed_file(
    message: SpooledMessage, copy: Copy, *, author_key: AuthorKey | None, show_subject: bool
) -> BinaryIO:
    """The same in a temporary file, which the caller closes. Raises StorageFull too."""
    with os_errors("temporary files"):
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
        try:
            sealed_to(file, message, copy, author_key=author_key, show_subject=show_subject)
            file.flush()
        except BaseException:
            file.close()
            raise
        return file


def _renamed(fields: Sequence[Field], domain: str) -> tuple[Field, ...]:
    """The same with a new Message-ID."""
    identifier = f"<{new_identifier()}@{domain}>"
    other = Field("Message-ID", identifier, f"Message-ID: {identifier}\r\n".encode("ascii"))
    return tuple(other if one.name.lower() == "message-id" else one for one in fields)


def _inside(message: SpooledMessage, copy: Copy) -> Iterator[bytes]:
    """The message with the header that it has in a copy."""
    yield b"".join(field.raw for field in copy.fields) + b"\r\n"
    left = len(message.preamble.header)
    for piece in message.in_pieces(_PIECE):
        if left < len(piece):
            yield piece[left:]
        left = max(left - len(piece), 0)
