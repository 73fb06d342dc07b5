"""Connections to a vetted address: http.client's, made stricter. Only the network uses them.

- The host is an address, and is connected to as such: there is no way from here to getaddrinfo.
- Every socket is under the deadline of the request that uses it, the TLS handshake included.
- An answer's head must be whole and at most MAX_HEAD octets. http.client by itself takes a head
  that was cut short for a short one, and a 201 whose end never came is not a 201.
- A chunk of less than no octets, which http.client reads to the end of all, is none.
"""

import http.client
import select
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from xhmtp_wsgi.dns_resolver import Address
from xhmtp_wsgi.network_deadline import Watchdog

MAX_HEAD = 32 << 10  # octets of status line and headers


class NotConnected(OSError):
    """There was no connection at all, so that another address may be tried."""


class StaleConnection(ConnectionError):
    """A kept-alive connection was closed by the other side, with no octet of an answer."""


@dataclass(frozen=True, slots=True)
class TLS:
    """Over TLS, with a certificate for that name."""

    context: ssl.SSLContext
    name: str


class WatchedConnection(http.client.HTTPConnection):
    """To one address, for one request after another."""

    def __init__(
        self,
        address: Address,
        port: int,
        *,
        source: str | None,
        watchdog: Watchdog,
        tls: TLS | None = None,
    ) -> None:
        """``source``: the address of ours to connect from. Opens nothing yet."""
        super().__init__(str(address), port)
        self.response_class = _StrictResponse
        self._address = address
        self._source = source
        self._watchdog = watchdog
        self._tls = tls
        self._answers = 0

    def connect(self) -> None:
        """Makes the socket. Raises NotConnected, or what TLS has to say."""
        address = self._address
        connected = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
        try:
            connected.settimeout(self.timeout)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._source is not None:
                connected.bind((self._source, 0))
            connected.connect((str(address), self.port))
            self._watchdog.cover(connected)
        except OSError as error:
            connected.close()
            raise NotConnected(f"no connection: {error}") from error
        self._answers = 0
        if self._tls is not None:
            # The socket is its own from here on, and closed where the handshake fails.
            connected = self._tls.context.wrap_socket(connected, server_hostname=self._tls.name)
        self.sock = connected

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | Sequence[bytes] | None,
        headers: Mapping[str, str],
        *,
        connect_timeout: float,
        read_timeout: float,
    ) -> http.client.HTTPResponse:
        """Sends a request, and reads the answer's head. Time-outs are seconds of silence."""
        if self.sock is None:
            self.timeout = connect_timeout
            self.connect()
        else:
            self._watchdog.cover(self.sock)
        self.sock.settimeout(read_timeout)
        try:
            # The answer may have come before all was sent.
            with suppress(BrokenPipeError):
                self.request(method, path, body, dict(headers))
            answer = self.getresponse()
        except ConnectionError as error:
            if self._answers:
                raise StaleConnection(str(error)) from error
            raise
        self._answers += 1
        return answer

    @property
    def is_usable(self) -> bool:
        """Is it open, with nothing come since the last answer, not even its end?"""
        if self.sock is None:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)


class Connections:
    """Those to one address; so many are kept alive while they are idle. For several threads."""

    def __init__(self, make: Callable[[], WatchedConnection], most: int) -> None:
        self._make = make
        self._most = most
        self._idle: list[WatchedConnection] = []
        self._is_closed = False

    def take(self) -> WatchedConnection:
        """The one that was used last, or a new one."""
        while True:
            try:
                found = self._idle.pop()
            except IndexError:
                return self._make()
            if found.is_usable:
                return found
            found.close()

    def give_back(self, connection: WatchedConnection) -> None:
        """Keeps it for the next request, if there is room."""
        if self._is_closed or len(self._idle) >= self._most:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Closes those that are idle; the others when they are given back."""
        self._is_closed = True
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()


class _StrictResponse(http.client.HTTPResponse):
    """Whose head must be whole."""

    fp: Any

    def begin(self) -> None:
        reader = self.fp
        self.fp = _Head(reader)
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = reader
        told = ",".join(self.headers.get_all("Content-Length", ())).split(",")
        if len({length.strip() for length in told}) > 1:
            raise http.client.HTTPException("several lengths")

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise ValueError("a chunk of less than no octets")
        return size


class _Head:
    """The lines of a head, counted; ConnectionError where not an octet was received."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self._octets = 0

    def readline(self, limit: int) -> bytes:
        try:
            line = self._reader.readline(min(limit, MAX_HEAD + 1))
        except ConnectionError as error:
            if self._octets or self._has_begun():
                raise http.client.IncompleteRead(b"") from error
            raise
        self._octets += len(line)
        if self._octets > MAX_HEAD:
            raise http.client.LineTooLong("head of an answer")
        if not line.endswith(b"\n"):
            if not self._octets:
                raise http.client.RemoteDisconnected("closed without an answer")
            raise http.client.IncompleteRead(line)
        return line

    def close(self) -> None:
        self._reader.close()

    def _has_begun(self) -> bool:
        """Did part of a line come before the connection was reset?"""
        peek = getattr(self._reader, "peek", None)
        with suppress(OSError):
            return peek is not None and bool(peek(1))
        return False


def source_for(address: Address, sources: Sequence[Address]) -> str | None:
    """The first of our addresses from which one can connect there; None: let the system choose."""
    for source in sources:
        alike = source.version == address.version and source.is_loopback == address.is_loopback
        if alike and _is_of_this_machine(source):
            return str(source)
    return None


def _is_of_this_machine(address: Address) -> bool:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
