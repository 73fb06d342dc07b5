"""A sealed message on the wire (docs/protocol.md, section 11): what stands outside of it.

The whole message with its true header is inside of an age file. Outside is only what delivery needs
(after RFC 9788): who sends, when to the minute, the ID; the subject if its author wants that.
"""

from collections.abc import Sequence

from xhmtp_wsgi.errors import MalformedMessage
from xhmtp_wsgi.protocol.header_block import Field
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.writing_time import utc_date

TYPE = "application/age"
TITLE = "Sealed message"
"""What stands for a subject that is sealed."""
_KEPT = frozenset({"message-id", "auto-submitted", "expires"})
_UNCHANGED_ENCODINGS = ("7bit", "8bit", "binary")


def is_sealed_type(content_type: str) -> bool:
    """Is a message of this Content-Type a sealed one?"""
    return content_type.partition(";")[0].strip().lower() == TYPE


def outer_fields(fields: Sequence[Field], *, subject: bool) -> tuple[Field, ...]:
    """What of a message's fields stands outside. Raises MalformedMessage for a Date that is none.

    ``subject``: it too. From is the address alone, Date in UTC and to the minute.
    """
    found = []
    for field in fields:
        name = field.name.lower()
        if name in _KEPT or (name == "subject" and subject):
            found.append(field)
        elif name == "from":
            authors = ", ".join(map(str, addresses(field.value)))
            found.append(Field("From", authors, f"From: {authors}\r\n".encode()))
        elif name == "date":
            found.append(_made("Date", utc_date(field.value)))
    return (*found, _made("MIME-Version", "1.0"), _made("Content-Type", TYPE))


def require_untouched_body(fields: Sequence[Field]) -> None:
    """Raises MalformedMessage where the body of a sealed message is encoded once more."""
    for field in fields:
        if (
            field.name.lower() == "content-transfer-encoding"
            and field.value.strip().lower() not in _UNCHANGED_ENCODINGS
        ):
            raise MalformedMessage(
                "a sealed message is handed in as it is, or with age's own armour: "
                f"without Content-Transfer-Encoding {field.value[:40]}"
            )


def as_message(header: bytes, age_file: bytes) -> bytes:
    """A sealed message as RFC 5322 has it, for Maildirs: the age file in its armour is the body.

    ``header``: the outer header block, with its blank line or without.
    """
    # The notifier tells sealed messages by their type, and seals nothing.
    from xhmtp_wsgi.protocol.sealing import armoured

    block = header.removesuffix(b"\r\n") if header.endswith(b"\r\n\r\n") else header
    text = age_file if age_file.startswith(b"-----") else b"".join(armoured([age_file]))
    body = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return block + b"Content-Transfer-Encoding: 7bit\r\n\r\n" + body


def _made(name: str, value: str) -> Field:
    return Field(name, value, f"{name}: {value}\r\n".encode("ascii"))
