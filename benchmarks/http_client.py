"""A client that sends ready-made requests over several connections kept alive, and waits for all.

It does as little as it can, as its processor time is the server's loss on the same machine.
"""

import selectors
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

END = b"\r\n\r\n"


@dataclass(slots=True)
class _Connection:
    address: tuple[str, int]
    source: str
    request: bytes = b""
    answer: bytearray = field(default_factory=bytearray)
    open: socket.socket | None = None

    def send(self, request: bytes) -> socket.socket:
        """Sends the next request, over a new connection where there is none."""
        self.request = request
        self.answer.clear()
        if self.open is None:
            self.open = socket.create_connection(
                self.address, timeout=60, source_address=(self.source, 0) if self.source else None
            )
            self.open.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open.sendall(request)
        return self.open

    def close(self) -> None:
        if self.open is not None:
            self.open.close()
            self.open = None


def post(path: str, host: str, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The octets of a POST."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + END + body


def get(path: str, host: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The octets of a GET."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + END


def send_all(
    address: tuple[str, int],
    requests: Iterable[bytes],
    *,
    connections: int,
    expected: int,
    source: str = "",
) -> int:
    """Sends all of them, so many at a time; how many were answered as expected.

    Raises RuntimeError for any other answer. A connection that the server has closed between two
    requests is opened anew.
    """
    waiting = iter(requests)
    done = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            _next(selector, _Connection(address, source), waiting)
        while selector.get_map():
            for key, _ in selector.select(60):
                connection: _Connection = key.data
                if not _received(selector, connection):
                    continue
                if not connection.answer.startswith(b"HTTP/1.1 %d " % expected):
                    raise RuntimeError(f"answered: {bytes(connection.answer[:300])!r}")
                done += 1
                if b"\r\nconnection: close" in bytes(connection.answer).lower():
                    selector.unregister(key.fileobj)
                    connection.close()
                    _next(selector, connection, waiting)
                elif (request := next(waiting, None)) is not None:
                    connection.send(request)
                else:
                    selector.unregister(key.fileobj)
                    connection.close()
    return done


def _next(
    selector: selectors.BaseSelector, connection: _Connection, waiting: Iterator[bytes]
) -> None:
    request = next(waiting, None)
    if request is not None:
        selector.register(connection.send(request), selectors.EVENT_READ, connection)


def _received(selector: selectors.BaseSelector, connection: _Connection) -> bool:
    """Takes in what has come; is it a whole answer?"""
    assert connection.open is not None
    try:
        octets = connection.open.recv(262144)
    except ConnectionResetError:
        octets = b""
    if not octets:
        if connection.answer:
            raise RuntimeError("an answer was cut")
        selector.unregister(connection.open)
        connection.close()
        selector.register(connection.send(connection.request), selectors.EVENT_READ, connection)
        return False
    connection.answer += octets
    head, separator, body = connection.answer.partition(END)
    if not separator:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    raise RuntimeError(f"no Content-Length: {bytes(head)!r}")
