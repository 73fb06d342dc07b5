"""A message of an export, and its recipients, checked before anything is written.

Security: the files may come from anybody. A message meets the checks of injection again: what is
queued here is told, and signed, in the domain's name.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO

from xhmtp_wsgi.errors import Malformed, SettingsError, XHMTPError
from xhmtp_wsgi.protocol.access_code import is_identifier, matches
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message import MAX_MESSAGE_ID, Preamble, prepare, split_header
from xhmtp_wsgi.protocol.message_url import MAX_CODE
from xhmtp_wsgi.protocol.status import WAITING, State
from xhmtp_wsgi.row_json import harmless
from xhmtp_wsgi.sender.failure_notice import LOCAL, Kind
from xhmtp_wsgi.sender.outbox_transfer import MESSAGE, RECIPIENT
from xhmtp_wsgi.sender.tables import PIECE
from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.verified_file import verified

DIGEST = 32  # octets
STATUSES = range(100, 600)
LONGEST_THREAD = 100  # characters
ADDED = 1 << 10  # octets of the fields that injection may have added to a header


@dataclass(frozen=True, slots=True)
class Outbox:
    """Whose messages are taken in, and what may be; ``now``: seconds since the epoch."""

    owner: Endpoint
    settings: Settings
    now: float


@dataclass(frozen=True, slots=True)
class CheckedMessage:
    """A message whose fields are in order; its octets are still to be compared."""

    values: dict[str, Any] = field(repr=False)
    preamble: Preamble
    octets: BinaryIO | None

    @property
    def identifier(self) -> str:
        """Its ID."""
        return str(self.values["id"])

    def pieces(self) -> Iterator[bytes]:
        """The octets in pieces. Raises Malformed at their end where they are not those told of."""
        if self.octets is None:
            return iter(())
        return verified(
            self.octets,
            size=self.values["size"],
            digest=self.values["digest"],
            what=f"the message {self.identifier}",
            piece=PIECE,
        )


def checked_message(
    outbox: Outbox, fields: Mapping[str, Any], octets: BinaryIO | None
) -> CheckedMessage:
    """The message that these fields tell of; ``octets``: its file, None where they are let go.

    Raises Malformed, or SettingsError for one that is too large for the settings.
    """
    values = MESSAGE.decode(fields)
    identifier = values["id"]
    if not is_identifier(identifier) or len(values["digest"]) != DIGEST:
        raise Malformed(f"message: {identifier[:50]!r} is no ID, or its digest none")
    if (octets is None) != ("header" in values) or (octets is None) != bool(values["emptied_at"]):
        raise Malformed(f"the message {identifier} is not there, or is not to be there")
    limit = outbox.settings.max_message_size
    if octets is not None and values["size"] > limit:
        raise SettingsError("max_message_size", f"{identifier} has {values['size']} octets")
    if octets is not None:
        values["header"] = _header(outbox, identifier, octets)
    if len(values.get("thread") or "") > LONGEST_THREAD:
        raise Malformed(f"the message {identifier} has no such conversation")
    try:
        preamble = _prepared(outbox, values)
    except XHMTPError as error:
        raise Malformed(f"the message {identifier}: {error}") from None
    return CheckedMessage(values, preamble, octets)


def _header(outbox: Outbox, identifier: str, octets: BinaryIO) -> bytes:
    start = octets.read(outbox.settings.max_header_size + ADDED)
    end = split_header(start)
    if end is None:
        raise SettingsError("max_header_size", f"the header of {identifier} is larger")
    return start[:end]


def _prepared(outbox: Outbox, values: Mapping[str, Any]) -> Preamble:
    """What the header says, if it is one that injection has stored. Raises Malformed or so."""
    owner, header = outbox.owner, values["header"]
    if values["sender"] != str(owner) and not _is_from_postmaster(outbox, values):
        raise Malformed("its sender is somebody else")
    preamble = prepare(
        header,
        now=datetime.fromtimestamp(outbox.now, UTC),
        domain=owner.domain,
        new_identifier=lambda: values["id"],
        limit=outbox.settings.max_header_size + ADDED,
    )
    if preamble.header != header:
        raise Malformed("its header is not as one that was stored")
    if preamble.sender is None:
        if values["alias"] is None or not is_identifier(values["alias"]):
            raise Malformed("it has no From, and no alias")
        if not 0 < len(values["message_id"]) <= 2 * MAX_MESSAGE_ID:
            raise Malformed("it has no Message-ID")
    elif values["message_id"] not in (preamble.message_id, f"{preamble.message_id} {values['id']}"):
        raise Malformed("its Message-ID is another")
    elif values["alias"] not in (None, preamble.sender.canonical.local):
        raise Malformed("its alias is none")
    return preamble


def _is_from_postmaster(outbox: Outbox, values: Mapping[str, Any]) -> bool:
    """Is it a report that the agent made for her?"""
    postmaster = Endpoint(LOCAL, outbox.owner.domain)
    return bool(values["is_report"]) and values["sender"] == str(postmaster)


def _checked_recipient(
    outbox: Outbox, message: CheckedMessage, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of a recipient of that message. Raises Malformed."""
    values = RECIPIENT.decode(fields)
    endpoint = _endpoint(values["recipient"])
    if values["message"] != message.identifier:
        raise Malformed("a recipient of a message that is not there")
    if _is_from_postmaster(outbox, message.values) and endpoint != outbox.owner:
        raise Malformed("a report for somebody else than its owner")
    if values["moved_to"] is not None:
        _endpoint(values["moved_to"])
    _check_state(values)
    _check_code(values)
    for name in ("last_answer", "unvouched"):
        values[name] = harmless(values[name])
    if values["next_try_at"] is None and values["state"] in WAITING:
        # It was handed over, and is due here.
        values["next_try_at"], values["last_answer"] = outbox.now, None
    return {**values, "domain": endpoint.domain}


def _endpoint(text: str) -> Endpoint:
    endpoint = Endpoint.parse(text)
    if str(endpoint) != text:
        raise Malformed(f"{text[:100]!r} is not written as an address is kept")
    return endpoint


def _check_state(values: Mapping[str, Any]) -> None:
    status = values["last_status"]
    if (
        values["state"] not in list(State)
        or values["report_due"] not in (None, *Kind)
        or (status is not None and status not in STATUSES)
        or (values["state"] not in WAITING and values["next_try_at"] is not None)
    ):
        raise Malformed(f"the state of {values['recipient']} is none")


def _check_code(values: Mapping[str, Any]) -> None:
    """The access code is there as long as he is to be told, and is the one of the hash."""
    code = values["code"]
    if len(values["code_hash"]) != DIGEST or (code is None) == (values["state"] in WAITING):
        raise Malformed(f"the access code of {values['recipient']} is missing, or one too many")
    if code is None:
        return
    if not (code.isascii() and code.isprintable() and 0 < len(code) <= MAX_CODE):
        raise Malformed(f"the access code of {values['recipient']} is none")
    if not matches(code, values["code_hash"]):
        raise Malformed(f"the access code of {values['recipient']} is not the one of its hash")


def checked_recipients(
    outbox: Outbox, message: CheckedMessage, recipients: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The rows of the recipients, as many as one message may have.

    Raises Malformed or SettingsError.
    """
    domain = outbox.settings.domains[outbox.owner.domain]
    for number, fields in enumerate(recipients, 1):
        if number > outbox.settings.max_recipients:
            raise SettingsError("max_recipients", f"{message.identifier} has more")
        row = _checked_recipient(outbox, message, fields)
        is_anonymous = message.preamble.sender is None
        if is_anonymous and row["state"] in WAITING and not domain.anonymous:
            raise SettingsError(
                f'domain."{domain.name}".anonymous',
                f"{message.identifier} is anonymous, and still to be told of",
            )
        yield row
