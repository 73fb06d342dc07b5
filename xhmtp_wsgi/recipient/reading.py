"""Reading: bob's side fetches a message from its sender's agent, and checks what was promised.

Only where somebody asks for it at the terminal, or on a page of a domain whose setting ``reading``
allows it: else no request to a web process of ours makes it open a connection. The octets are
compared with the digest that the notification told; if its author signed the message, with a key of
his that is remembered from the first time on.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Column, Double, Table, Text, select

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import (
    ConnectionFailed,
    Forbidden,
    Gone,
    MalformedMessage,
    MalformedSignature,
    NotFound,
    Permanent,
    SignatureInvalid,
    TooLarge,
    Transient,
)
from xhmtp_wsgi.key_lookup import look_up
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import addresses, display
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.sealing import is_sealed
from xhmtp_wsgi.protocol.signed_message import author_field, differing_fields, find_signature
from xhmtp_wsgi.protocol.ssh_signature import PublicKey, same_key, verify
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS, Check
from xhmtp_wsgi.schema import metadata

MOST = 64 << 20  # octets that are read into memory
PATIENCE = 300.0  # seconds
CHANGED_KEY = "signed with another key"
"""How the reason begins where an author's key is not the one that was seen first."""
SEALED_START = 4096  # octets in which an age file shows that it is one
LEAST_PATIENCE = 1.0  # seconds that are left for the author's keys

ORIGINAL_AUTHOR = "original author"

known_authors = Table(
    "known_author",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("author", Text, primary_key=True),
    Column("line", Text, nullable=False),
    Column("first_seen_at", Double, nullable=False),
)


PublishedKeys: TypeAlias = Callable[[Endpoint], Sequence[PublicKey]]
"""The keys that an author publishes. Raises a Permanent or Transient error."""


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message that was fetched: its octets, and what was found of them."""

    octets: bytes
    checks: tuple[Check, ...]


def read(
    agent: Agent,
    owner: Endpoint,
    notice: Notice,
    *,
    within: float = PATIENCE,
    own_keys: PublishedKeys | None = None,
) -> ReadMessage:
    """Fetches the message of a notice, and checks it; ``within`` so many seconds.

    ``own_keys``: what authors of our own publish, so that no site waits for itself. Raises Gone,
    NotFound, TooLarge, Forbidden where the octets are not those that the notification told of,
    AddressRefused or BadDomain where they cannot be asked for, or a Transient error.
    """
    if notice.size is not None and notice.size > MOST:
        raise TooLarge("the message", MOST)
    end = agent.monotonic() + within
    octets = _fetch(agent, MessageURL.parse(notice.url), within)
    return checked(agent, owner, notice, octets, keys_over_network(agent, end, own_keys))


def checked(
    agent: Agent, owner: Endpoint, notice: Notice, octets: bytes, published: PublishedKeys
) -> ReadMessage:
    """What was fetched for a notice. Raises Forbidden where it is not what that told of.

    The author's signature of a sealed message is inside: ``unsealing`` looks at it.
    """
    digest = _digest(notice, octets)
    if digest.result == FAIL:
        raise Forbidden(f"the message is not shown: {digest.reason}")
    if is_sealed(octets[:SEALED_START]):
        return ReadMessage(octets, (digest,))
    return ReadMessage(octets, (digest, check_author(agent, owner, octets, published)))


def _fetch(agent: Agent, url: MessageURL, within: float) -> bytes:
    target = AgentTarget(url.scheme, url.host, url.effective_port)
    headers = {
        "Accept": "message/rfc822, application/age",
        "Authorization": basic_credentials(str(url.recipient), url.code),
    }
    answer = agent.network.get(target, url.path, headers, within=within, most=MOST)
    if answer.truncated:
        raise TooLarge("the message", MOST)
    if answer.status == 410:
        raise Gone("its sender has withdrawn it, or keeps it no more")
    if answer.status == 429 or answer.status >= 500:
        raise ConnectionFailed(f"{url.host} answered {answer.status}")
    if answer.status != 200:
        raise NotFound(f"{url.host} answered {answer.status}")
    return answer.body


def _digest(notice: Notice, octets: bytes) -> Check:
    if notice.digest is None:
        return Check("digest", NONE, "the notification told none")
    if hmac.compare_digest(hashlib.sha256(octets).digest(), notice.digest):
        return Check("digest", PASS, "it is the message that the notification told of")
    return Check("digest", FAIL, "it was changed since the notification told of it")


def check_author(
    agent: Agent, owner: Endpoint, octets: bytes, published: PublishedKeys | None = None
) -> Check:
    """Did its author sign the message himself, with the key that we know of him?

    The check is called *author* where that is the address in From, and *original author* where a
    group has passed the message on: whom it names then is not the one whom a reader sees first.
    ``published``: by default, what the author's agent answers.
    """
    check = _check_author(agent, owner, octets, published or keys_over_network(agent))
    passed_on_by = None if check.result == NONE else _passed_on_by(octets)
    if passed_on_by is None:
        return check
    return Check(ORIGINAL_AUTHOR, check.result, f"{check.reason}; passed on by {passed_on_by}")


def _check_author(agent: Agent, owner: Endpoint, octets: bytes, published: PublishedKeys) -> Check:
    try:
        parts = find_signature(octets)
        if parts is None:
            return Check("author", NONE, "its author has not signed it")
        author = _author(octets)
        if author is None:
            return Check("author", NONE, "the message is anonymous")
        key = verify(parts.armoured, [parts.signed])
        changed = differing_fields(parts, octets)
    except (MalformedMessage, MalformedSignature, SignatureInvalid) as error:
        return Check("author", FAIL, str(error))
    if changed:
        return Check("author", FAIL, f"changed on the way: {', '.join(changed)}")
    return _known(agent, owner, author, key, published)


def _known(
    agent: Agent, owner: Endpoint, author: Endpoint, key: PublicKey, published: PublishedKeys
) -> Check:
    """The key against the one that was seen first; the first comes from the author's agent."""
    known = _remembered(agent.database, owner, author)
    if known is not None and same_key(known, key):
        return Check("author", PASS, f"signed by {author} with the key known: {key.fingerprint()}")
    if known is not None:
        return Check(
            "author",
            FAIL,
            f"{CHANGED_KEY} than {author} had: {key.fingerprint()}, known is "
            f"{known.fingerprint()}; ask him by another way",
        )
    try:
        keys = published(author)
    except (Permanent, Transient) as error:
        return Check("author", NONE, f"signed, but the keys of {author} are not to be had: {error}")
    if not any(same_key(one, key) for one in keys):
        return Check("author", FAIL, f"signed with a key that {author} does not publish")
    _remember(agent.database, owner, author, key, agent.clock())
    return Check("author", PASS, f"signed by {author}; first seen now: {key.fingerprint()}")


def keys_over_network(
    agent: Agent, end: float | None = None, own_keys: PublishedKeys | None = None
) -> PublishedKeys:
    """What an author's agent answers; ``end``: until when, on the monotonic clock.

    ``own_keys``: what is asked instead for authors of our own domains. A list that is signed must
    verify; one that is not, as older agents serve it, is taken.
    """

    def published(author: Endpoint) -> Sequence[PublicKey]:
        if own_keys is not None and agent.accounts.acts_for(author.domain):
            return own_keys(author)
        within = agent.settings.try_deadline
        if end is not None:
            within = max(end - agent.monotonic(), LEAST_PATIENCE)
        return look_up(agent, author, within).signing

    return published


def _remembered(database: Database, owner: Endpoint, author: Endpoint) -> PublicKey | None:
    with database.reading() as connection:
        line = connection.execute(
            select(known_authors.c.line).where(
                known_authors.c.owner == str(owner.canonical),
                known_authors.c.author == str(author.canonical),
            )
        ).scalar()
    return None if line is None else PublicKey.parse(line)


def trust(agent: Agent, owner: Endpoint, octets: bytes) -> None:
    """Takes the key that signed this message for its author's, whatever was known before.

    Raises NotFound where nobody has signed it, SignatureInvalid or MalformedSignature.
    """
    parts, author = find_signature(octets), _author(octets)
    if parts is None or author is None:
        raise NotFound("the message has no author's signature")
    key = verify(parts.armoured, [parts.signed])
    _remember(agent.database, owner, author, key, agent.clock())


def _remember(
    database: Database, owner: Endpoint, author: Endpoint, key: PublicKey, now: float
) -> None:
    with database.transaction() as connection:
        statement = insert_or(connection, known_authors).values(
            owner=str(owner.canonical),
            author=str(author.canonical),
            line=key.line(),
            first_seen_at=now,
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[known_authors.c.owner, known_authors.c.author],
                set_={"line": key.line(), "first_seen_at": now},
            )
        )


def _author(octets: bytes) -> Endpoint | None:
    """Who has written it: in a message that a group passed on, who stands in Original-From."""
    written_by = author_field(_fields(octets))
    return None if written_by is None else _one(written_by)


def _passed_on_by(octets: bytes) -> str | None:
    """The address in From, where it is not the author's."""
    fields = _fields(octets)
    if "from" not in fields or author_field(fields) is fields["from"]:
        return None
    return display(fields["from"])


def _one(value: str) -> Endpoint:
    found = addresses(value)
    if len(found) != 1:
        raise MalformedMessage(f"{len(found)} addresses stand where its author should")
    return found[0]


def _fields(octets: bytes) -> dict[str, str]:
    block = octets[: octets.find(b"\r\n\r\n") + 2]
    return {field.name.lower(): field.value for field in scan(block, len(block))}
