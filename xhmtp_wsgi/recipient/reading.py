"""Reading: bob's side fetches a message from its sender's agent, and checks what was promised.

Only where somebody asks for it at the terminal: no request to a web process of ours makes it open a
connection. The octets are compared with the digest that the notification told; if its author signed
the message, with a key of his that is remembered from the first time on.
"""

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import Column, Double, Table, Text, select

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import (
    Forbidden,
    Gone,
    MalformedSignature,
    NotFound,
    Permanent,
    SignatureInvalid,
    TooLarge,
    Transient,
)
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.published_keys import parse_key_lines
from xhmtp_wsgi.protocol.signed_message import differing_fields, find_signature
from xhmtp_wsgi.protocol.ssh_signature import PublicKey, same_key, verify
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS, Check
from xhmtp_wsgi.routes import keys_path
from xhmtp_wsgi.schema import metadata

MOST = 64 << 20  # octets that are read into memory
PATIENCE = 300.0  # seconds

known_authors = Table(
    "known_author",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("author", Text, primary_key=True),
    Column("line", Text, nullable=False),
    Column("first_seen_at", Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message that was fetched: its octets, and what was found of them."""

    octets: bytes
    checks: tuple[Check, ...]


def read(agent: Agent, owner: Endpoint, notice: Notice) -> ReadMessage:
    """Fetches the message of a notice, and checks it.

    Raises Gone, NotFound, TooLarge, Forbidden where the octets are not those that the notification
    told of, or a Transient error.
    """
    url = MessageURL.parse(notice.url)
    octets = _fetch(agent, url)
    digest = _digest(notice, octets)
    if digest.result == FAIL:
        raise Forbidden(f"the message is not shown: {digest.reason}")
    return ReadMessage(octets, (digest, check_author(agent, owner, octets)))


def _fetch(agent: Agent, url: MessageURL) -> bytes:
    target = AgentTarget(url.scheme, url.host, url.effective_port)
    headers = {
        "Accept": "message/rfc822",
        "Authorization": basic_credentials(str(url.recipient), url.code),
    }
    answer = agent.network.get(target, url.path, headers, within=PATIENCE, most=MOST)
    if answer.truncated:
        raise TooLarge("the message", MOST)
    if answer.status == 410:
        raise Gone("its sender has withdrawn it, or keeps it no more")
    if answer.status != 200:
        raise NotFound(f"{url.host} answered {answer.status}")
    return answer.body


def _digest(notice: Notice, octets: bytes) -> Check:
    if notice.digest is None:
        return Check("digest", NONE, "the notification told none")
    if hmac.compare_digest(hashlib.sha256(octets).digest(), notice.digest):
        return Check("digest", PASS, "it is the message that the notification told of")
    return Check("digest", FAIL, "it was changed since the notification told of it")


def check_author(agent: Agent, owner: Endpoint, octets: bytes) -> Check:
    """Did the address in From sign the message itself, with the key that we know of it?"""
    try:
        parts = find_signature(octets)
        if parts is None:
            return Check("author", NONE, "its author has not signed it")
        author = _author(octets)
        if author is None:
            return Check("author", NONE, "the message is anonymous")
        key = verify(parts.armoured, [parts.signed])
        changed = differing_fields(parts, octets)
    except (MalformedSignature, SignatureInvalid) as error:
        return Check("author", FAIL, str(error))
    if changed:
        return Check("author", FAIL, f"changed on the way: {', '.join(changed)}")
    return _known(agent, owner, author, key)


def _known(agent: Agent, owner: Endpoint, author: Endpoint, key: PublicKey) -> Check:
    """The key against the one that was seen first; the first comes from the author's agent."""
    known = _remembered(agent.database, owner, author)
    if known is not None and same_key(known, key):
        return Check("author", PASS, f"signed by {author} with the key known: {key.fingerprint()}")
    if known is not None:
        return Check(
            "author",
            FAIL,
            f"signed with another key than {author} had: {key.fingerprint()}, known is "
            f"{known.fingerprint()}; ask him by another way",
        )
    try:
        published = _published(agent, author)
    except (Permanent, Transient) as error:
        return Check("author", NONE, f"signed, but the keys of {author} are not to be had: {error}")
    if not any(same_key(one, key) for one in published):
        return Check("author", FAIL, f"signed with a key that {author} does not publish")
    _remember(agent.database, owner, author, key, agent.clock())
    return Check("author", PASS, f"signed by {author}; first seen now: {key.fingerprint()}")


def _published(agent: Agent, author: Endpoint) -> tuple[PublicKey, ...]:
    path = keys_path(agent.discovery.prefix(author.domain), author)
    target = agent.discovery.agents(author.domain)[0]
    answer = agent.network.get(target, path, {"Accept": "text/plain"})
    if answer.status != 200:
        raise NotFound(f"{target.host} answered {answer.status}")
    return parse_key_lines(answer.body.decode("utf-8", "replace"))


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
    block = octets[: octets.find(b"\r\n\r\n") + 2]
    for field in scan(block, len(block)):
        if field.name.lower() == "from":
            return addresses(field.value)[0]
    return None
