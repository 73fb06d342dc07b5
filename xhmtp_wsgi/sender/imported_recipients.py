"""The recipients of a message of an export, checked before anything is written.

Security: the files may come from anybody. What opens a message, and who is told of it, is settled
by these rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xhmtp_wsgi.errors import Malformed, SettingsError
from xhmtp_wsgi.protocol.access_code import matches
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MAX_CODE
from xhmtp_wsgi.protocol.status import WAITING, State
from xhmtp_wsgi.row_json import harmless
from xhmtp_wsgi.sender.failure_notice import Kind
from xhmtp_wsgi.sender.imported_message import DIGEST, CheckedMessage, Outbox, is_from_postmaster
from xhmtp_wsgi.sender.outbox_transfer import RECIPIENT

STATUSES = range(100, 600)
# Of fields that may be missing: all rows of one message have the same ones.
_DEFAULTS = {"tries": 0, "internal_failures": 0, "representation": 0}


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


def _checked_recipient(
    outbox: Outbox, message: CheckedMessage, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of a recipient of that message. Raises Malformed."""
    values = {**_DEFAULTS, **RECIPIENT.decode(fields)}
    endpoint = _endpoint(values["recipient"])
    if values["message"] != message.identifier:
        raise Malformed("a recipient of a message that is not there")
    if is_from_postmaster(outbox, message.values) and endpoint != outbox.owner:
        raise Malformed("a report for somebody else than its owner")
    if values["moved_to"] is not None:
        _endpoint(values["moved_to"])
    if values["representation"] >= len(message.representations):
        raise Malformed(f"{message.identifier} is not there in the form that {endpoint} gets")
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
