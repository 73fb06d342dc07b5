"""The paths below the prefix: the only place that builds and parses them (protocol, section 3).

A path arrives as WSGI gives it, percent-decoded once by the server; `bob@B` and `bob%40B` are the
same by then. Nothing here knows the prefix: that is the middleware's.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

from xhmtp_wsgi.errors import MalformedAddress, MalformedRequest, NotFound
from xhmtp_wsgi.protocol.access_code import is_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.hostname import parse_hostname

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+=?^_`{|}~.-]{1,64}")
MAX_PATH = 1024  # octets below the prefix


@dataclass(frozen=True, slots=True)
class InboxRoute:
    """``/bob@B``: where bob is notified, and his feed."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class DomainRoute:
    """``/@B``: where many of a domain are notified in one request."""

    domain: str


@dataclass(frozen=True, slots=True)
class KeysRoute:
    """``/alice@A/keys``: the keys that alice signs with, and that messages are sealed to."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class OutboxRoute:
    """``/alice/``: where alice injects, and what she has sent."""

    sender: str


@dataclass(frozen=True, slots=True)
class MessageRoute:
    """``/alice/$ID``: a message."""

    sender: str
    identifier: str


@dataclass(frozen=True, slots=True)
class StatusRoute:
    """``/alice/$ID/status``: how far it has come, recipient by recipient."""

    sender: str
    identifier: str


@dataclass(frozen=True, slots=True)
class MetricsRoute:
    """``/metrics``: counters for monitoring, where the settings allow it."""


@dataclass(frozen=True, slots=True)
class SelfTestRoute:
    """``/selftest``, or ``/selftest/bob@B``: how requests arrive, told to `xhmtp check`.

    Neither can be a sender's, who has a slash behind his name and no @ in an ID.
    """

    address: str


@dataclass(frozen=True, slots=True)
class PageRoute:
    """``/bob@B/...``: bob's pages; ``path``: what stands behind his address, by segments."""

    endpoint: Endpoint
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResourceRoute:
    """``/bob@B/api/...``: bob's mailbox as resources in JSON; ``path``: behind ``api``."""

    endpoint: Endpoint
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssetRoute:
    """``/assets/NAME.css``: what pages are made with; no sender has a dot in an ID."""

    name: str


@dataclass(frozen=True, slots=True)
class DescriptionRoute:
    """``/openapi.json``: the resources, described for programs."""


Route: TypeAlias = (
    InboxRoute
    | DomainRoute
    | OutboxRoute
    | MessageRoute
    | StatusRoute
    | MetricsRoute
    | KeysRoute
    | SelfTestRoute
    | PageRoute
    | ResourceRoute
    | AssetRoute
    | DescriptionRoute
)


def parse_route(path_info: str) -> Route:
    """The resource that a path below the prefix names; ``path_info`` as in a WSGI environ.

    Raises NotFound for what is none, MalformedRequest for a path that is not UTF-8, and
    MalformedAddress for something with an @ that is not an address.
    """
    if len(path_info) > MAX_PATH:
        raise NotFound("there is no such resource")
    try:
        path = path_info.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise MalformedRequest("the path is not UTF-8") from None
    match path.removeprefix("/").split("/"):
        case ["selftest"]:
            return SelfTestRoute("")
        case ["selftest", address] if "@" in address:
            return SelfTestRoute(address)
        case [address] if address.startswith("@"):
            return DomainRoute(parse_hostname(address[1:]))
        case [address] if "@" in address:
            return InboxRoute(Endpoint.parse(address))
        case [address, "keys"] if "@" in address:
            return KeysRoute(Endpoint.parse(address))
        case [address, "api", *rest] if "@" in address:
            return ResourceRoute(Endpoint.parse(address), tuple(rest))
        case [address, *rest] if "@" in address:
            return PageRoute(Endpoint.parse(address), tuple(rest))
        case ["assets", name] if "." in name:
            return AssetRoute(name)
        case ["openapi.json"]:
            return DescriptionRoute()
        case ["metrics"]:
            return MetricsRoute()
        case [local, ""] if _LOCAL.fullmatch(local):
            return OutboxRoute(local)
        case [local, identifier] if _LOCAL.fullmatch(local) and is_identifier(identifier):
            return MessageRoute(local, identifier)
        case [local, identifier, "status"] if _LOCAL.fullmatch(local) and is_identifier(identifier):
            return StatusRoute(local, identifier)
    raise NotFound("there is no such resource")


def page_path(prefix: str, endpoint: Endpoint, *path: str) -> str:
    """``/PREFIX/bob%40B/...``, each further segment quoted."""
    return "/".join([inbox_path(prefix, endpoint), *(quote(one, safe="") for one in path)])


def self_test_path(prefix: str, address: str = "") -> str:
    """``/PREFIX/selftest``, and the address as it is to be sent, percent-encoded or not."""
    return f"/{prefix}/selftest" + (f"/{address}" if address else "")


def sender_endpoint(local: str, domain: str) -> Endpoint | None:
    """The sender that an OutboxRoute means at a domain; None if that is no address."""
    try:
        return Endpoint.parse(f"{local}@{domain}")
    except MalformedAddress:
        return None


def inbox_path(prefix: str, endpoint: Endpoint) -> str:
    """``/PREFIX/bob%40B``."""
    return f"/{prefix}/{endpoint.quoted}"


def domain_path(prefix: str, domain: str) -> str:
    """``/PREFIX/%40B``."""
    return f"/{prefix}/%40{domain}"


def keys_path(prefix: str, endpoint: Endpoint) -> str:
    """``/PREFIX/alice%40A/keys``."""
    return f"{inbox_path(prefix, endpoint)}/keys"


def message_path(prefix: str, sender: str, identifier: str) -> str:
    """``/PREFIX/alice/$ID``; ``sender``: her local part, or an alias."""
    return f"/{prefix}/{quote(sender, safe='')}/{identifier}"
