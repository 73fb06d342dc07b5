"""Hands a message in to its author's agent over HTTP, as any client does (protocol, section 4).

Security: the password goes to the host that she has named, and nowhere else: no redirect is
followed. It is never part of the URL, which others on her machine could see.
"""

import json
import mmap
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import (
    ConnectionFailed,
    Duplicate,
    Forbidden,
    MalformedRequest,
    NotAuthenticated,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.hostname import parse_hostname

PATIENCE = 3600.0  # seconds for one message
_PORTS = {"http": 80, "https": 443}
_MOST_SAID = 300  # characters of what an agent says


@dataclass(frozen=True, slots=True)
class Outbox:
    """Where messages are handed in."""

    target: AgentTarget
    path: str

    @classmethod
    def parse(cls, url: str) -> "Outbox":
        """Reads ``http(s)://HOST[:PORT]/PREFIX/NAME/``. Raises MalformedRequest."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise MalformedRequest(f"this is not the URL of an outbox: {error}") from None
        if parts.username is not None or parts.password is not None:
            raise MalformedRequest("a password in a URL is seen by others; it is asked for")
        if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
            raise MalformedRequest("the URL of an outbox is http(s)://HOST/PREFIX/NAME/")
        host = parse_hostname(parts.hostname)
        path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
        return cls(AgentTarget(parts.scheme, host, port or _PORTS[parts.scheme]), path)


@dataclass(frozen=True, slots=True)
class Login:
    """Whose outbox it is."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HandedIn:
    """What the agent made of it; ``is_new``: false where it was handed in before."""

    identifier: str
    is_new: bool


def hand_in(
    agent: Agent, outbox: Outbox, login: Login, file: BinaryIO, recipients: tuple[Endpoint, ...]
) -> HandedIn:
    """POSTs what is in a file. ``recipients``: those whom it names, to be compared.

    Raises NotAuthenticated, Forbidden with the agent's own words where it takes nothing, Duplicate
    where that Message-ID was used for others, AddressRefused, or a Transient error.
    """
    headers = {
        "Content-Type": "message/rfc822",
        "Authorization": basic_credentials(login.user, login.password),
    }
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as body:
        answer = agent.network.post(outbox.target, outbox.path, body, headers, within=PATIENCE)
    if answer.status == 401:
        raise NotAuthenticated(f"{outbox.target.host} does not know {login.user} by that password")
    if answer.status not in (200, 201):
        said = f"{outbox.target.host} answered {answer.status}: {_detail(answer)}"
        raise (ConnectionFailed if answer.status >= 500 else Forbidden)(said)
    told = _object(answer)
    found = HandedIn(display(str(told.get("id", "")))[:100], answer.status == 201)
    if not found.is_new:
        _require_same_recipients(told, recipients)
    return found


def _require_same_recipients(told: dict[str, Any], recipients: tuple[Endpoint, ...]) -> None:
    listed = told.get("recipients")
    had = {str(one.get("address")) for one in listed or () if isinstance(one, dict)}
    missing = [str(one) for one in recipients if str(one) not in had]
    if missing:
        raise Duplicate(
            f"a message with this Message-ID was sent before, and not to {', '.join(missing[:5])}"
        )


def _object(answer: HTTPAnswer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _detail(answer: HTTPAnswer) -> str:
    """Its own words, fit for a terminal."""
    detail = _object(answer).get("detail")
    return display(detail)[:_MOST_SAID] if isinstance(detail, str) else "it does not say why"
