"""A draft becomes a message: its fields are read as people type them, and it is handed in."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import ImpossibleRecipients, MalformedAddress, Permanent
from xhmtp_wsgi.protocol.composing import NewAttachment, NewMessage, compose
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.mailbox_list import Mailbox, typed_mailboxes
from xhmtp_wsgi.sender import drafts
from xhmtp_wsgi.sender.drafts import Draft
from xhmtp_wsgi.sender.injection import submit
from xhmtp_wsgi.sender.outbox import StoredMessage
from xhmtp_wsgi.sender.sealing import Plan, Wish, plan

_BETWEEN = re.compile(r"[,;\r\n]")
PEOPLE = ("to", "cc", "bcc")
"""The fields of a draft that name recipients."""


class UnusableFields(Permanent):
    """Fields that cannot be; ``reasons``: for each field's name what is wrong, for its author."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = dict(reasons)


def message_id_of(owner: Endpoint, key: str) -> str:
    """The Message-ID of what is sent under a key, which has the form of an ID of ours."""
    return f"<{key}@{owner.domain}>"


def planned(agent: Agent, owner: Endpoint, draft: Draft, wish: Wish) -> Plan:
    """What would become of a draft for each recipient, if it were sent now.

    Raises UnusableFields, Forbidden where ``wish`` is less than the domain demands, or a Transient
    error.
    """
    people = _people(draft, owner)
    recipients = [mailbox.endpoint for mailboxes in people.values() for mailbox in mailboxes]
    once = {str(endpoint): endpoint for endpoint in recipients}
    return plan(agent, owner, list(once.values()), wish, remember=False)


def send(
    agent: Agent,
    owner: Endpoint,
    draft: Draft,
    key: str,
    wish: Wish,
    uploads: Sequence[NewAttachment] = (),
) -> StoredMessage:
    """Hands a draft in, once for each key. On disk when this returns; the draft stays.

    ``wish``: how it is sealed; ``uploads``: what is attached beside what the draft has. Raises
    UnusableFields, or as ``injection.submit`` does.
    """
    people = _people(draft, owner)
    octets = drafts.octets_of(agent.database, draft.attachments)
    new = NewMessage(
        sender=str(owner),
        to=_written(people["to"]),
        cc=_written(people["cc"]),
        bcc=_written(people["bcc"]),
        subject=draft.fields.subject,
        text=draft.fields.text,
        in_reply_to=draft.fields.in_reply_to,
        references=draft.fields.references,
        attachments=(
            *(
                NewAttachment(one.name, one.type, octets[one.identifier])
                for one in draft.attachments
            ),
            *uploads,
        ),
    )
    date = datetime.fromtimestamp(agent.clock(), UTC)
    message = compose(new, date=date, message_id=message_id_of(owner, key))
    del octets, new
    try:
        return submit(agent, [message], str(owner), None, wish).message
    except ImpossibleRecipients as error:
        raise UnusableFields(_by_field(error.reasons, people)) from None


def _people(draft: Draft, owner: Endpoint) -> dict[str, tuple[Mailbox, ...]]:
    """Whom each field names; a name without a domain is somebody of the owner's own."""
    found, wrong = {}, {}
    for name in PEOPLE:
        try:
            found[name] = typed_mailboxes(getattr(draft.fields, name), owner.domain)
        except MalformedAddress:
            wrong[name] = _what_is_wrong(getattr(draft.fields, name), owner)
    if not wrong and not any(found.values()):
        wrong["to"] = "Who is to get it? Write at least one address."
    if wrong:
        raise UnusableFields(wrong)
    return found


def _what_is_wrong(typed: str, owner: Endpoint) -> str:
    """Which of the addresses it is, in words for whoever typed them."""
    for piece in _BETWEEN.split(typed):
        try:
            typed_mailboxes(piece, owner.domain)
        except MalformedAddress:
            shown = " ".join(piece.split())[:80]
            return f"“{shown}” is not an address, such as alice@example.org."
    return "These cannot be read as addresses with commas between them."


def _by_field(
    reasons: Mapping[str, str], people: Mapping[str, tuple[Mailbox, ...]]
) -> dict[str, str]:
    """The reasons for each recipient, put to the field that names him."""
    found: dict[str, list[str]] = {}
    for address, reason in reasons.items():
        name = next(
            (
                name
                for name, mailboxes in people.items()
                if any(str(mailbox.endpoint) == address for mailbox in mailboxes)
            ),
            "to",
        )
        found.setdefault(name, []).append(f"{address}: {reason}.")
    return {name: " ".join(lines) for name, lines in found.items()}


def _written(mailboxes: tuple[Mailbox, ...]) -> tuple[str, ...]:
    return tuple(map(str, mailboxes))
