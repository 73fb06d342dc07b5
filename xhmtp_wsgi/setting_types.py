"""How each kind of setting is read: from what TOML, a mapping or the environment gives, to a value.

Every function here takes the value as given and returns it as typed, or raises ValueError with a
text that says what would be right. settings.py adds the setting's name.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from xhmtp_wsgi.errors import MalformedAddress, MalformedPrefix
from xhmtp_wsgi.protocol.hostname import parse_hostname
from xhmtp_wsgi.protocol.prefix import parse_prefix

Parser: TypeAlias = Callable[[Any], Any]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

VERIFY_POLICIES = ("origin or signature", "origin", "signature", "origin and signature")


@dataclass(frozen=True, slots=True)
class Nameserver:
    """Where a name server answers."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class AgentURL:
    """Scheme, host and port of an agent; ``port`` is None where it is the scheme's own."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port else "")


def text(value: object) -> str:
    """Any string."""
    if not isinstance(value, str):
        raise ValueError("is not a string")
    return value


def colour(value: object) -> str:
    """A colour as #rrggbb."""
    given = text(value)
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", given):
        raise ValueError(f"{given!r} is not a colour of the form #rrggbb")
    return given.lower()


def schema_name(value: object) -> str:
    """A schema's name that needs no quotes, or an empty string."""
    given = text(value)
    if given and not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", given):
        raise ValueError(f"{given!r} is not a name of a-z, 0-9 and _")
    return given


def octets(value: object) -> int:
    """A number of octets, at least 1."""
    return count(value)


def count(value: object) -> int:
    """A whole number, at least 1."""
    try:
        number = int(value) if isinstance(value, int | str) else 0
    except ValueError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise ValueError("is not a whole number of 1 or more")
    return number


def seconds(value: object) -> float:
    """A duration, more than 0 and finite."""
    try:
        number = float(value) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        number = 0.0
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise ValueError("is not a number of seconds above 0")
    return number


def boolean(value: object) -> bool:
    """true or false."""
    if value in (True, "true", "1", "yes"):
        return True
    if value in (False, "false", "0", "no"):
        return False
    raise ValueError("is neither true nor false")


def unknown_recipients(value: object) -> str:
    """tell or hide."""
    if value not in ("tell", "hide"):
        raise ValueError('is neither "tell" nor "hide"')
    return str(value)


def unvouched(value: object) -> str:
    """send, wait or sealed."""
    if value not in ("send", "wait", "sealed"):
        raise ValueError('is none of "send", "wait", "sealed"')
    return str(value)


def seal_policy(value: object) -> str:
    """never, known or always."""
    if value not in ("never", "known", "always"):
        raise ValueError('is none of "never", "known", "always"')
    return str(value)


def database_url(value: object) -> str:
    """An SQLAlchemy URL; ``postgresql://`` is taken to mean psycopg 3."""
    try:
        url = make_url(text(value))
    except ArgumentError:
        raise ValueError("is not a database URL, such as sqlite:///xhmtp.db") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError("is neither an SQLite nor a PostgreSQL database")
    return url.render_as_string(hide_password=False)


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [part for part in value.replace(",", " ").split() if part]
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    raise ValueError("is not a list of strings")


def networks(value: object) -> tuple[Network, ...]:
    """A list of addresses or networks, such as 10.0.0.0/8."""
    found = []
    for item in _strings(value):
        try:
            found.append(ipaddress.ip_network(item))
        except ValueError:
            raise ValueError(f"{item!r} is neither an address nor a network") from None
    return tuple(found)


UNIX_SOCKET = ipaddress.ip_network("::/128")
"""Stands for whoever comes over a Unix socket, and so has no address; no client can have this."""


def proxies(value: object) -> tuple[Network, ...]:
    """A list of addresses or networks; ``unix`` for whoever comes over a Unix socket."""
    given = _strings(value)
    found = networks([item for item in given if item != "unix"])
    return (*found, UNIX_SOCKET) if "unix" in given else found


def ports(value: object) -> tuple[int, ...]:
    """A list of ports."""
    given = value if isinstance(value, list | tuple) else _strings(value)
    found = []
    for item in given:
        number = int(item) if isinstance(item, int) or str(item).isdecimal() else 0
        if isinstance(item, bool) or not 0 < number < 65536:
            raise ValueError(f"{item!r} is not a port")
        found.append(number)
    return tuple(found)


def nameservers(value: object) -> tuple[Nameserver, ...]:
    """A list of name servers' addresses, each with a port if it is not 53."""
    return tuple(_nameserver(item) for item in _strings(value))


def _nameserver(item: str) -> Nameserver:
    address, port = item, "53"
    if item.startswith("["):
        address, _, rest = item[1:].partition("]")
        port = rest.removeprefix(":") or "53"
    elif item.count(":") == 1:
        address, _, port = item.partition(":")
    try:
        ipaddress.ip_address(address)
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ValueError(f"{item!r} is not an address with a port, such as 127.0.0.1:5353")
    return Nameserver(address, number)


def agent_url(value: object) -> AgentURL:
    """http(s)://HOST[:PORT], and nothing more."""
    given = text(value)
    try:
        parts = urlsplit(given)
        port = parts.port
        host = parse_hostname(parts.hostname or "")
    except (ValueError, MalformedAddress):
        raise ValueError(f"{given!r} is not of the form http(s)://HOST[:PORT]") from None
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or extra:
        raise ValueError(f"{given!r} is not of the form http(s)://HOST[:PORT]")
    default = {"http": 80, "https": 443}[parts.scheme]
    return AgentURL(parts.scheme, host, None if port in (None, default) else port)


def prefix(value: object) -> str:
    """A path prefix (docs/protocol.md, section 2)."""
    try:
        return parse_prefix(text(value))
    except MalformedPrefix as error:
        raise ValueError(str(error)) from None


def verify(value: object) -> str:
    """One of VERIFY_POLICIES."""
    if value not in VERIFY_POLICIES:
        raise ValueError(f"is none of: {', '.join(VERIFY_POLICIES)}")
    return str(value)
