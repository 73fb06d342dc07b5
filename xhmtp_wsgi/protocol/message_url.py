"""A message URL: where a message is, and the access code with which its recipient gets it.

    http://bob%40B:CODE@server-a.A/PREFIX/alice/ID        (docs/protocol.md, section 5)

Security: strangers send these, and readers follow them. Only http and https with a host name, and
nothing that one program reads differently from another. ``str`` and ``repr`` leave the code out.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from xhmtp_wsgi.errors import MalformedAddress, MalformedMessageURL
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.hostname import parse_hostname

MAX_LENGTH = 2048  # octets
MAX_CODE = 256  # characters
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CHARACTER = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<user>{_CHARACTER}+):(?P<code>{_CHARACTER}+)@"
    rf"(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{{1,5}}))?"
    rf"(?P<path>(?:/(?:{_CHARACTER}|[:@])+)+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class MessageURL:
    """The parts of a message URL; ``port`` is None where it is the scheme's own."""

    scheme: str
    host: str
    port: int | None
    recipient: Endpoint
    code: str = field(repr=False)
    path: str

    @classmethod
    def parse(cls, text: str) -> "MessageURL":
        """The URL that was sent. Raises MalformedMessageURL, never naming the code."""
        if len(text) > MAX_LENGTH:
            raise MalformedMessageURL(f"the message URL has more than {MAX_LENGTH} octets")
        found = _URL.fullmatch(text)
        if found is None:
            raise MalformedMessageURL(
                "the message URL is not http(s)://RECIPIENT:CODE@HOST[:PORT]/PATH "
                "without query and fragment"
            )
        try:
            recipient = Endpoint.parse(_decoded(found["user"]))
            host = parse_hostname(found["host"])
        except MalformedAddress as error:
            raise MalformedMessageURL(f"in the message URL: {error}") from None
        code = _decoded(found["code"])
        if not (code.isascii() and code.isprintable() and len(code) <= MAX_CODE):
            raise MalformedMessageURL("the access code in the message URL is not printable ASCII")
        _check_path(found["path"])
        port = _port(found["port"], found["scheme"])
        return cls(found["scheme"], host, port, recipient, code, found["path"])

    @property
    def effective_port(self) -> int:
        """The port, told or not."""
        return self.port or _DEFAULT_PORTS[self.scheme]

    def with_credentials(self) -> str:
        """The URL as a reader follows it; the same for all spellings of it."""
        credentials = f"{self.recipient.quoted}:{quote(self.code, safe='')}@"
        return f"{self.scheme}://{credentials}{self._authority}{self.path}"

    def bare(self) -> str:
        """The URL without recipient and code."""
        return f"{self.scheme}://{self._authority}{self.path}"

    __str__ = bare

    @property
    def _authority(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMessageURL("the message URL is not UTF-8") from None


def _port(text: str | None, scheme: str) -> int | None:
    if text is None:
        return None
    port = int(text)
    if not 0 < port < 65536:
        raise MalformedMessageURL("the port in the message URL is not 1 to 65535")
    return None if port == _DEFAULT_PORTS[scheme] else port


def _check_path(path: str) -> None:
    for segment in path[1:].split("/"):
        decoded = _decoded(segment)
        if decoded in (".", "..") or any(
            character in "/\\" or not character.isprintable() for character in decoded
        ):
            raise MalformedMessageURL("the path of the message URL has a segment that it may not")
