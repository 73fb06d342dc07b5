"""A notice as a message that mail programs read, for the Maildir of a mailbox.

The body is not here: it waits at its sender's agent, or is an age file beside the Maildir. So the
message has two parts: where to get it, in words, and as message/external-body (RFC 2017) for
programs that know what that is.

Security: whoever has the URL can read the message. What strangers wrote is the header block, which
was scanned when it came in, and words that stand behind ours on their line.
"""

from collections.abc import Iterator, Mapping, Sequence
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from xhmtp_wsgi.protocol.header_block import Field, scan
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.sealed_message import is_sealed_type

# Of the message as its agent keeps it: they would be untrue of this one.
_OF_THE_BODY = frozenset(
    {
        "mime-version",
        "content-type",
        "content-language",
        "content-length",
        "repr-digest",
        "expires",
    }
)
LONGEST = 900  # octets of a URL that stands on one line
FOLDED_AT = 76  # octets


def as_message(
    headers: bytes, notice: Mapping[str, Any], domain: str, sealed_copy: str | None = None
) -> bytes:
    """The message, with the line ends of Unix.

    ``headers``: the notice's header block; ``notice``: its other fields as JSON has them;
    ``sealed_copy``: where in the export the message itself is, if a sealed copy is kept.
    """
    fields = scan(headers, len(headers)) if headers else ()
    by_name = {field.name.lower(): field.value for field in fields}
    boundary = f"xhmtp-{notice['id']}"
    lines = [
        *_header(fields, notice["received_at"]),
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        *_words(notice, by_name, sealed_copy),
        "",
        f"--{boundary}",
        *_external_body(notice, by_name),
        "",
        "Content-Type: message/rfc822",
        f"Content-ID: <{notice['id']}@{domain}>",
        "",
        "",
        f"--{boundary}--",
    ]
    return "\n".join(lines).encode("utf-8") + b"\n"


def _header(fields: Sequence[Field], received_at: float) -> Iterator[str]:
    for field in fields:
        if field.name.lower() not in _OF_THE_BODY:
            yield field.raw.decode("utf-8").replace("\r\n", "\n").rstrip("\n")
    if not any(field.name.lower() == "date" for field in fields):
        yield f"Date: {formatdate(received_at)}"


def _words(
    notice: Mapping[str, Any], by_name: Mapping[str, str], sealed_copy: str | None
) -> Iterator[str]:
    if sealed_copy is not None:
        yield "A copy of this message is in this export; it is sealed, and opened by"
        yield ""
        yield f"    age -d -i KEYS {sealed_copy}"
        yield ""
    yield "This message waits at its sender's agent. It is read at"
    yield ""
    yield notice["url"]
    yield ""
    if is_sealed_type(by_name.get("content-type", "")):
        yield "It is sealed: age -d -i KEYS opens what is there."
    if notice["size"] is not None:
        yield f"Size: {notice['size']} octets"
    if "expires" in by_name:
        yield f"Kept there until: {display(by_name['expires'])}"
    for name, result, reason in notice["checks"]:
        yield f"{name}: {result} ({display(reason)})"


def _external_body(notice: Mapping[str, Any], by_name: Mapping[str, str]) -> Iterator[str]:
    yield "Content-Type: message/external-body; access-type=URL;"
    if notice["size"] is not None:
        yield f" size={notice['size']};"
    expires = _date(by_name.get("expires", ""))
    if expires is not None:
        yield f' expiration="{expires}";'
    yield f' permission=read; URL="{_folded(notice["url"])}"'


def _folded(url: str) -> str:
    """The URL on lines that are not too long: readers leave white space out (RFC 2017)."""
    if len(url) <= LONGEST:
        return url
    pieces = [url[start : start + FOLDED_AT] for start in range(0, len(url), FOLDED_AT)]
    return "\n ".join(pieces)


def _date(value: str) -> str | None:
    try:
        return formatdate(parsedate_to_datetime(value).timestamp(), usegmt=True)
    except (ValueError, OverflowError, OSError):
        return None
