"""Delivery status notifications: what alice is told of a message that is late, refused or given up.

RFC 3464's multipart/report: words for people, fields for programs, and the header of the message in
question. It goes into alice's own inbox and nowhere else (docs/protocol.md, section 10).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.charset import QP, Charset
from email.header import Header
from email.message import Message
from email.utils import format_datetime
from enum import StrEnum

from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display

_READABLE = Charset("utf-8")
_READABLE.body_encoding = QP  # and not base64, which people who look at the source cannot read

LISTED = 20  # recipients that the words for people name
LOCAL = "postmaster"


class Kind(StrEnum):
    """What is told of a recipient; RFC 3464's Action."""

    DELAYED = "delayed"
    FAILED = "failed"
    MOVED = "relayed"


@dataclass(frozen=True, slots=True)
class Subject:
    """The message that a report is about. Times are seconds since the epoch."""

    identifier: str
    sender: Endpoint
    header: bytes
    title: str
    queued_at: float


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of it for one recipient, so far."""

    recipient: str
    kind: Kind
    state: str
    http_status: int | None
    answer: str
    last_try_at: float | None
    tried_until: float
    moved_to: str | None = None


def compose(subject: Subject, fates: Sequence[Fate], now: float) -> bytes:
    """The report: a message from postmaster@A to the sender, with CRLF line ends."""
    # Half a MB, for which a notifier has no use before somebody is to be told of something.
    from email.mime.base import MIMEBase
    from email.mime.multipart import MIMEMultipart
    from email.mime.text import MIMEText
    from email.policy import SMTP

    report = MIMEMultipart("report", report_type="delivery-status")
    report["From"] = f"Delivery reports <{LOCAL}@{subject.sender.domain}>"
    report["To"] = str(subject.sender)
    report["Subject"] = Header(_title(subject, fates), "utf-8").encode(linesep="\r\n")
    report["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    report["Auto-Submitted"] = "auto-replied"
    original = _field(subject.header, b"message-id")
    if original is not None:
        report["In-Reply-To"] = original
        report["References"] = original
    words = MIMEText("", "plain")
    words.set_payload(_words(subject, fates), _READABLE)
    report.attach(words)
    report.attach(_status(subject, fates))
    header = MIMEBase("text", "rfc822-headers")
    header.set_payload(subject.header.decode("ascii", "replace").replace("\r\n", "\n").strip("\n"))
    report.attach(header)
    return report.as_bytes(policy=SMTP.clone(max_line_length=998))


def _title(subject: Subject, fates: Sequence[Fate]) -> str:
    kinds = {fate.kind for fate in fates}
    if Kind.FAILED in kinds:
        what = "Not delivered"
    elif Kind.DELAYED in kinds:
        what = "Delayed"
    else:
        what = "Moved"
    return f"{what}: {display(subject.title) or '(no subject)'}"


def _words(subject: Subject, fates: Sequence[Fate]) -> str:
    sent = format_datetime(datetime.fromtimestamp(subject.queued_at, UTC))
    lines = [f"Your message of {sent}", f"  {display(subject.title) or '(no subject)'}", ""]
    for kind, words in (
        (Kind.FAILED, "could not be announced to these recipients, and will not be tried again:"),
        (Kind.DELAYED, "has not reached these recipients yet; it is still being tried:"),
        (Kind.MOVED, "was announced at a new place to these recipients:"),
    ):
        chosen = [fate for fate in fates if fate.kind is kind]
        if not chosen:
            continue
        lines.append(words)
        for fate in chosen[:LISTED]:
            lines.append(f"  {fate.recipient}")
            lines.append(f"    {display(fate.answer)}")
            if fate.moved_to:
                lines.append(f"    write to {fate.moved_to} from now on")
        if len(chosen) > LISTED:
            lines.append(f"  and {len(chosen) - LISTED} more; the next part names them all")
        lines.append("")
    lines.append(f"The message's ID is {subject.identifier}.")
    return "\n".join(lines) + "\n"


def _status(subject: Subject, fates: Sequence[Fate]) -> Message:
    """The message/delivery-status part: blocks of fields (RFC 3464, sections 2.2 and 2.3)."""
    from email.mime.base import MIMEBase  # see compose()

    blocks = [
        [
            ("Reporting-MTA", f"dns; {subject.sender.domain}"),
            ("Original-Envelope-Id", subject.identifier),
            ("Arrival-Date", format_datetime(datetime.fromtimestamp(subject.queued_at, UTC))),
        ]
    ]
    blocks += [_recipient_fields(fate) for fate in fates]
    part = MIMEBase("message", "delivery-status")
    for block in blocks:
        fields = Message()
        for name, value in block:
            fields[name] = value
        part.attach(fields)
    return part


def _recipient_fields(fate: Fate) -> list[tuple[str, str]]:
    fields = [
        ("Final-Recipient", f"rfc822; {fate.moved_to or fate.recipient}"),
        ("Action", str(fate.kind)),
        ("Status", status_code(fate)),
    ]
    if fate.moved_to:
        fields.insert(0, ("Original-Recipient", f"rfc822; {fate.recipient}"))
    said = display(fate.answer).encode("ascii", "replace").decode()
    kind = f"http; {fate.http_status}" if fate.http_status is not None else "x-xhmtp;"
    fields.append(("Diagnostic-Code", f"{kind} {said}"))
    if fate.last_try_at is not None:
        fields.append(
            ("Last-Attempt-Date", format_datetime(datetime.fromtimestamp(fate.last_try_at, UTC)))
        )
    if fate.kind is Kind.DELAYED:
        fields.append(
            ("Will-Retry-Until", format_datetime(datetime.fromtimestamp(fate.tried_until, UTC)))
        )
    return fields


_BY_HTTP = {
    401: "7.8",
    403: "7.1",
    404: "1.1",
    410: "1.6",
    413: "3.4",
    421: "4.6",
    429: "4.5",
    451: "7.0",
    503: "3.2",
    507: "2.2",
}


def status_code(fate: Fate) -> str:
    """The enhanced status code of RFC 3463 that comes nearest."""
    if fate.kind is Kind.MOVED:
        return "2.1.6"
    if fate.state == "expired":
        return "5.4.7"
    family = "5" if fate.kind is Kind.FAILED else "4"
    detail = "4.1" if family == "4" else "1.2"
    if fate.http_status is not None:
        detail = _BY_HTTP.get(fate.http_status, "5.0")
    return f"{family}.{detail}"


def _field(header: bytes, name: bytes) -> str | None:
    for line in header.split(b"\r\n"):
        found, colon, value = line.partition(b":")
        if colon and found.lower() == name:
            return value.strip().decode("ascii", "replace")
    return None
