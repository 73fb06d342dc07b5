"""Connections to a vetted address: urllib3's, made stricter in three ways. Only network uses it.

- The pool's host is an address, and is connected to as such: there is no way from here to
  getaddrinfo. A name in its place is a fault of ours, and a ValueError.
- Every socket is under the deadline of the request that uses it, the TLS handshake included.
- An answer's head must be whole and at most MAX_HEAD octets. http.client by itself takes a head
  that was cut short for a short one, and a 201 whose end never came is not a 201.
"""

import http.client
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from xhmtp_wsgi.dns_resolver import Address
from xhmtp_wsgi.network_deadline import Watchdog

MAX_HEAD = 32 << 10  # octets of status line and headers


class StaleConnection(ConnectionError):
    """A kept-alive connection was closed by the other side, with no octet of an answer."""


class WatchedConnection(HTTPConnection):
    """Over TCP alone."""

    def __init__(self, *arguments: Any, watchdog: Watchdog, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.response_class = _StrictResponse
        self._watchdog = watchdog
        self._answers = 0

    def _new_conn(self) -> socket.socket:
        """urllib3's place for making the socket; called by connect()."""
        address = ipaddress.ip_address(self.host.strip("[]"))
        connected = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
        try:
            connected.settimeout(self.timeout)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.source_address is not None:
                connected.bind(self.source_address)
            connected.connect((str(address), self.port))
            self._watchdog.cover(connected)
        except TimeoutError as error:
            connected.close()
            raise ConnectTimeoutError(self, "no connection in time") from error
        except OSError as error:
            connected.close()
            raise NewConnectionError(self, f"no connection: {error}") from error
        self._answers = 0
        return connected

    def request(self, *arguments: Any, **options: Any) -> None:
        """Sends a request, on a connection that may have served others."""
        if self.sock is not None and self._answers:
            self._watchdog.cover(self.sock)
        try:
            super().request(*arguments, **options)
        except BrokenPipeError:
            # urllib3 goes on then: the answer may have come before all was sent.
            raise
        except ConnectionError as error:
            raise self._told_apart(error) from error

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3 has it
        """The answer, its head read."""
        try:
            answer = super().getresponse()
        except ConnectionError as error:
            raise self._told_apart(error) from error
        self._answers += 1
        return answer

    def _told_apart(self, error: ConnectionError) -> ConnectionError:
        return StaleConnection(str(error)) if self._answers else error


class WatchedTLSConnection(WatchedConnection, HTTPSConnection):
    """Over TLS."""


class WatchedPool(HTTPConnectionPool):
    """Kept-alive connections to one address."""

    ConnectionCls = WatchedConnection


class WatchedTLSPool(HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = WatchedTLSConnection


class _StrictResponse(http.client.HTTPResponse):
    """Whose head must be whole, and each chunk of a size."""

    fp: Any

    def _read_next_chunk_size(self) -> int:
        # http.client reads a chunk of size -1 without end, whatever was asked for.
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise http.client.IncompleteRead(b"")
        return size

    def begin(self) -> None:
        reader = self.fp
        self.fp = _Head(reader)
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = reader


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
