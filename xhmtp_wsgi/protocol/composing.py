"""A new message, made of what its author has filled in: the form of RFC 5322 and MIME.

For pages, for the REST resource, for the terminal. Values in, octets out: who may send it, and to
whom it goes, is injection's to say.

Security: nothing that was filled in, and nothing of a message that is answered, becomes a field of
its own. What is answered is looked at as it stands in its header block: a decoded name may look
like an address.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime

from xhmtp_wsgi.errors import MalformedMessage
from xhmtp_wsgi.protocol.composed_parts import NewAttachment, attachment_part, multipart, text_part
from xhmtp_wsgi.protocol.conversation import identifiers
from xhmtp_wsgi.protocol.encoded_fields import (
    MAX_TEXT,
    mailboxes_field,
    one_line,
    text_field,
    tokens_field,
)
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.mailbox_list import Mailbox, header_mailboxes, typed_mailboxes
from xhmtp_wsgi.protocol.message import MAX_MESSAGE_ID, split_header

__all__ = [
    "NewAttachment", "NewMessage", "compose", "forward_of", "header_fields", "reply_to",
]  # fmt: skip

MOST_REFERENCES = 30
MOST_QUOTED = 200_000  # characters
_MESSAGE_ID = re.compile(r"<[!-;=?-~]+>")
_ANSWER = re.compile(r"\s*(?:(?:re|aw|antw|sv|vs|odp)(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE)
_FORWARD = re.compile(r"\s*(?:fwd?|wg|tr|vb)\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What its author has filled in.

    ``sender``, and each of ``to``, ``cc``, ``bcc``: an address, or ``Alice <alice@a.example>``;
    ``in_reply_to``, ``references``: message identifiers, as in the fields of these names.
    """

    sender: str
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    subject: str = ""
    text: str = field(default="", repr=False)
    in_reply_to: str = ""
    references: str = ""
    attachments: tuple[NewAttachment, ...] = ()


def compose(new: NewMessage, *, date: datetime, message_id: str) -> bytes:
    """The message, with CRLF line ends, and with Bcc, which injection takes out.

    ``message_id``: with its angle brackets. Raises MalformedAddress, or MalformedMessage.
    """
    if not _MESSAGE_ID.fullmatch(message_id) or len(message_id) > MAX_MESSAGE_ID:
        raise MalformedMessage(f"Message-ID is not <...> of at most {MAX_MESSAGE_ID} octets")
    authors = typed_mailboxes(new.sender)
    if len(authors) != 1:
        raise MalformedMessage("a message has one sender")
    header = [mailboxes_field("From", authors)]
    for name, given in (("To", new.to), ("Cc", new.cc), ("Bcc", new.bcc)):
        mailboxes = [mailbox for one in given for mailbox in typed_mailboxes(one)]
        if mailboxes:
            header.append(mailboxes_field(name, mailboxes))
    if one_line(new.subject):
        header.append(text_field("Subject", new.subject))
    header.append(tokens_field("Date", [format_datetime(date)]))
    header.append(tokens_field("Message-ID", [message_id]))
    answered = _identifiers(new.in_reply_to)[:1]
    if answered:
        header.append(tokens_field("In-Reply-To", answered))
    references = _identifiers(new.references)
    if len(references) > MOST_REFERENCES:
        # The first names the conversation; the last are those that readers look for.
        references = [references[0], *references[1 - MOST_REFERENCES :]]
    if references:
        header.append(tokens_field("References", references))
    header.append(b"MIME-Version: 1.0\r\n")
    content = text_part(new.text)
    if new.attachments:
        content = multipart([content, *map(attachment_part, new.attachments)], message_id)
    return b"".join(header) + content.header + b"\r\n" + content.body


def header_fields(octets: bytes) -> dict[str, str]:
    """A message's fields, or a notice's, by name in lower case, not decoded.

    ``octets``: its header block, or all of it. Raises MalformedMessage.
    """
    block = octets[: split_header(octets) or len(octets)].rstrip(b"\r\n")
    fields = scan(block, len(block), allow_bare_newlines=True, max_fields=len(block))
    return {field.name.lower(): field.value for field in fields}


def reply_to(fields: Mapping[str, str], text: str, owner: str, *, everybody: bool) -> NewMessage:
    """A reply to begin with: to whom, subject, and the text quoted, below two empty lines.

    ``fields``: of the message that is answered, by ``header_fields``; ``text``: its own. Somebody
    who answers what he wrote himself writes to the same people again. Raises MalformedMessage where
    nobody is named who could be answered.
    """
    own = Endpoint.parse(owner)
    authors = _others(fields.get("from", ""), own)
    chosen = header_mailboxes(fields.get("reply-to", "")) if authors else ()
    to = _others(fields["reply-to"], own) if chosen else authors
    first, more = _others(fields.get("to", ""), own), _others(fields.get("cc", ""), own)
    cc: list[Mailbox] = []
    if not to:
        to, cc = first, more if everybody else []
    elif everybody:
        cc = [*first, *more]
    if not to:
        raise MalformedMessage("the message names nobody who could be answered")
    taken = {mailbox.endpoint.canonical for mailbox in to}
    answered = _identifiers(fields.get("message-id", ""))[:1]
    earlier = _identifiers(fields.get("references", "") or fields.get("in-reply-to", ""))
    subject = _ANSWER.sub("", display(fields.get("subject", "")), count=1)
    return NewMessage(
        sender=owner,
        to=tuple(map(str, _each_once(to, set()))),
        cc=tuple(map(str, _each_once(cc, taken))),
        subject=f"Re: {subject}"[:MAX_TEXT].rstrip(),
        text=f"\n\n{_said(fields)}\n{_quoted(text)}" if text.strip() else "",
        in_reply_to=" ".join(answered),
        references=" ".join([*earlier, *answered]),
    )


def forward_of(
    fields: Mapping[str, str],
    text: str,
    owner: str,
    *,
    attachments: tuple[NewAttachment, ...] = (),
) -> NewMessage:
    """A message that passes another one on, to begin with: its subject, and its text below two
    empty lines; to whom is to be filled in.

    ``fields``: of that message, by ``header_fields``; ``attachments``: what goes along, its own
    perhaps, or itself as message/rfc822.
    """
    subject = display(fields.get("subject", ""))
    lines = ["", "", "---------- Forwarded message ----------"]
    for name in ("From", "Date", "Subject", "To", "Cc"):
        value = display(fields.get(name.lower(), ""))
        if value:
            lines.append(f"{name}: {value}")
    return NewMessage(
        sender=owner,
        subject=(subject if _FORWARD.match(subject) else f"Fwd: {subject}")[:MAX_TEXT].rstrip(),
        text="\n".join([*lines, "", text[:MOST_QUOTED]]),
        attachments=attachments,
    )


def _others(value: str, own: Endpoint) -> list[Mailbox]:
    """The mailboxes of a field, without those of the owner."""
    return [mailbox for mailbox in header_mailboxes(value) if not _is_own(mailbox.endpoint, own)]


def _is_own(endpoint: Endpoint, own: Endpoint) -> bool:
    """Is it that address, or the same with a tag (bob+tag@B)?"""
    found, wanted = endpoint.canonical, own.canonical
    return found.domain == wanted.domain and wanted.local in (
        found.local,
        found.local.partition("+")[0],
    )


def _each_once(mailboxes: list[Mailbox], taken: set[Endpoint]) -> list[Mailbox]:
    found: dict[Endpoint, Mailbox] = {}
    for mailbox in mailboxes:
        if mailbox.endpoint.canonical not in taken:
            found.setdefault(mailbox.endpoint.canonical, mailbox)
    return list(found.values())


def _identifiers(value: str) -> list[str]:
    return [
        one
        for one in identifiers(value)
        if _MESSAGE_ID.fullmatch(one) and len(one) <= MAX_MESSAGE_ID
    ]


def _said(fields: Mapping[str, str]) -> str:
    """The line above what is quoted."""
    author = display(fields.get("from", "")) or "somebody"
    try:
        sent = parsedate_to_datetime(fields.get("date", ""))
    except (ValueError, OverflowError):
        return f"{author} wrote:"
    return f"On {sent:%d %B %Y at %H:%M}, {author} wrote:"


def _quoted(text: str) -> str:
    """The text with > before its lines; the author's signature below "-- " is left out."""
    lines = text[:MOST_QUOTED].splitlines()
    if "-- " in lines:
        lines = lines[: lines.index("-- ")]
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join(f">{line}" if line.startswith(">") else f"> {line}".rstrip() for line in lines)
