"""A message without its sender: what may stay in the header block when there is no From.

A list of what may stay, and not of what may not: programs put the author's name into fields that
nobody knows of. The body is her own, and is not looked at.
"""

from collections.abc import Callable
from dataclasses import replace

from xhmtp_wsgi.protocol.header_block import Field
from xhmtp_wsgi.protocol.message import Preamble
from xhmtp_wsgi.protocol.writing_time import utc_date

KEPT = frozenset(
    {
        "to",
        "cc",
        "subject",
        "expires",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "content-language",
        "content-disposition",
        "content-description",
    }
)
_THREAD = ("in-reply-to", "references")


def anonymised(preamble: Preamble, *, domain: str, new_identifier: Callable[[], str]) -> Preamble:
    """The preamble with nothing in it that names its author.

    Message-ID is a new one, Date is in UTC; of the messages that it answers only those of other
    domains are named, as her own would join her messages to each other. ``message_id`` stays what
    it was, so that the same message handed in twice is known for one.
    """
    fields = [field for field in preamble.fields if field.name.lower() in KEPT]
    for field in preamble.fields:
        name = field.name.lower()
        if name == "date":
            fields.append(_made("Date", utc_date(field.value)))
        elif name in _THREAD:
            others = [
                one
                for one in field.value.split()
                if one.isascii() and not one.lower().endswith(f"@{domain}>")
            ]
            if others:
                fields.append(_made(field.name, "\r\n ".join(others)))
    fields.append(_made("Message-ID", f"<{new_identifier()}@{domain}>"))
    header = b"".join(field.raw for field in fields) + b"\r\n"
    return replace(preamble, fields=tuple(fields), header=header)


def _made(name: str, value: str) -> Field:
    return Field(name, value.replace("\r\n", ""), f"{name}: {value}\r\n".encode("ascii"))
