"""Opening sealed messages with bob's keys: what is inside, and whether it is what was told.

What a notification tells of a sealed message is its outer header: who, when, its Message-ID, and
that it is an age file. Inside is the message with its true header. The whole of it is in memory, up
to ``reading.MOST``: nothing is handed on before its end was found authentic.

Security: a seal says who may read, and nothing of who wrote. So From and Message-ID inside are
compared with those of the notification, which was checked; the author's own signature is inside.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedMessage, NotSealedToThese, TooLarge, XHMTPError
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.conversation import identifiers
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import addresses, display
from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.protocol.sealed_message import is_sealed_type
from xhmtp_wsgi.protocol.signed_message import author_field
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.reading import MOST, PublishedKeys, check_author
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS, Check

if TYPE_CHECKING:
    from xhmtp_wsgi.protocol.sealing import Identity

SEALED = "sealed"
"""The name of the check: does a key of his open it, and is inside what was told?"""


@dataclass(frozen=True, slots=True)
class Unsealed:
    """What was inside, which of the keys opened it, and what was found of it."""

    octets: bytes = field(repr=False)
    identity: "Identity"
    checks: tuple[Check, ...]


def is_sealed_notice(notice: Notice) -> bool:
    """Has its notification told of a sealed message?"""
    try:
        kind = header_fields(notice.headers).get("content-type", "")
    except XHMTPError:
        # It was read when it came in; should that change, nothing is taken for sealed.
        return False
    return is_sealed_type(kind)


def unsealed(octets: bytes, identities: "Sequence[Identity]") -> bytes:
    """What is in an age file. Raises MalformedSeal, NotSealedToThese, SealBroken or TooLarge."""
    return _opened(octets, identities)[0]


def unseal_message(
    agent: Agent,
    owner: Endpoint,
    notice: Notice,
    octets: bytes,
    identities: "Sequence[Identity]",
    published: PublishedKeys,
) -> Unsealed:
    """The message in the age file that a notice told of, and what was checked of it.

    ``published``: the keys of authors, as ``check_author`` wants them. Raises MalformedMessage
    where something else was sealed, or as ``unsealed`` does.
    """
    inside, identity = _opened(octets, identities)
    try:
        fields = header_fields(inside)
    except MalformedMessage:
        fields = {}
    if not fields:
        raise MalformedMessage("what was sealed is no message")
    check = _check(notice, fields, identity)
    if check.result == FAIL or author_field(fields) != fields.get("from"):
        # Whose key that is would be remembered by his address, which only stands inside.
        author = Check("author", NONE, "not looked at: inside, it is not from whom you were told")
    else:
        author = check_author(agent, owner, inside, published)
    return Unsealed(inside, identity, (check, author))


def _opened(octets: bytes, identities: "Sequence[Identity]") -> "tuple[bytes, Identity]":
    """What is inside, and the key that opened it."""
    from xhmtp_wsgi.protocol.sealing import unseal

    if len(octets) > MOST:
        raise TooLarge("the message", MOST)
    for identity in identities:
        try:
            return b"".join(unseal([octets], [identity])), identity
        except NotSealedToThese:
            continue
    if not identities:
        # What is no age file is told to be none, whether he has a key or not.
        with suppress(NotSealedToThese):
            b"".join(unseal([octets], []))
    raise NotSealedToThese("it is sealed, and to none of your keys")


def differences(told: Mapping[str, str], inside: Mapping[str, str]) -> list[str]:
    """In what a message inside is another than the one that was told of, in words.

    Both: the fields of a header by name in lower case.
    """
    found = []
    if _people(told.get("from", "")) != _people(inside.get("from", "")):
        found.append(
            f"inside, it is from {display(inside.get('from', '')) or 'nobody'}, and you were told "
            f"of a message from {display(told.get('from', '')) or 'nobody who is named'}"
        )
    if identifiers(told.get("message-id", "")) != identifiers(inside.get("message-id", "")):
        found.append("inside, it has another Message-ID than you were told of")
    return found


def true_fields(notice: Notice, octets: bytes) -> dict[str, str]:
    """The header fields inside a sealed message, by name in lower case, not decoded.

    From is as the notification told it, unless inside is the same address with a name: that one was
    checked, and this one anybody can have sealed.
    """
    told, inside = header_fields(notice.headers), header_fields(octets)
    if _people(told.get("from", "")) != _people(inside.get("from", "")):
        inside.pop("from", None)
    else:
        told.pop("from", None)
    return {**told, **inside}


def _check(notice: Notice, fields: dict[str, str], identity: "Identity") -> Check:
    found = differences(header_fields(notice.headers), fields)
    if found:
        return Check(SEALED, FAIL, "; ".join(found))
    return Check(SEALED, PASS, f"opened with your key {fingerprint(identity.recipient)}")


def _people(value: str) -> tuple[Endpoint, ...] | str:
    try:
        return tuple(one.canonical for one in addresses(value))
    except XHMTPError:
        return value
