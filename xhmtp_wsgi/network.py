"""HTTP to other agents: the only place that opens connections. The notifier calls it.

A host is looked up once, each of its addresses is vetted, and the connection is made to a vetted
address while Host, SNI and the certificate stay the name's. Connections are kept alive and used
again. Nothing of the environment (proxies, .netrc) is read.

Security: no redirect is followed, nothing is decoded, at most MAX_ANSWER octets of a body are read,
and one deadline holds for the whole of a request. Certificates are always checked.
"""

import http.client
import os
import re
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.discovery import AgentTarget, Discovery
from xhmtp_wsgi.dns_resolver import Address
from xhmtp_wsgi.errors import AddressRefused, ConnectionFailed, DeadlineExceeded, XHMTPError
from xhmtp_wsgi.network_addresses import Network as IPNetwork
from xhmtp_wsgi.network_addresses import port_refused, vet
from xhmtp_wsgi.network_connection import TLS, Connections, WatchedConnection, source_for
from xhmtp_wsgi.network_deadline import Watchdog
from xhmtp_wsgi.network_failure import FAILURES, failure_of, is_stale, not_connected

MAX_ANSWER = 64 << 10  # octets of a body
MAX_ADDRESSES_TRIED = 4
MAX_SOURCES_TRIED = 8
MAX_POOLS = 256
STEP = 8 << 10  # octets read at once
ROUTES_KEPT = 1.0  # seconds: a burst to one host asks once where it is

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(r"/(?!/)[!-~]*")
_OURS = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """An answer; ``headers`` by name in lower case, each cut at 4096 characters.

    ``body`` is cut at what was asked for, MAX_ANSWER octets if nothing, and ``truncated`` then;
    ``address`` is who answered.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: AgentTarget
    path: str
    headers: Mapping[str, str]
    body: bytes | memoryview | Sequence[bytes] | None
    most: int = MAX_ANSWER


@dataclass(frozen=True, slots=True)
class _Route:
    """A vetted address of a host, and the address of ours to connect from, where that matters."""

    address: Address
    source: str | None


class Network:
    """Speaks HTTP to agents. Safe to be used by several threads, and after a fork."""

    def __init__(
        self,
        discovery: Discovery,
        *,
        allow_networks: Sequence[IPNetwork] = (),
        tls_ca_file: str | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 10.0,
        deadline: float = 30.0,
        user_agent: str = f"xhmtp_wsgi/{__version__}",
        monotonic: Callable[[], float] = time.monotonic,
        connections_per_destination: int = 8,
        ports_allowed: Container[int] | None = None,
    ) -> None:
        """Opens nothing yet.

        ``connect_timeout`` and ``read_timeout`` are seconds of silence, ``deadline`` seconds for
        one request in all. So many ``connections_per_destination`` are kept alive. ``tls_ca_file``:
        the authorities that are trusted in place of the system's.
        """
        self._discovery = discovery
        self._allowed = allow_networks
        self._tls_ca_file = tls_ca_file
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        self._deadline = deadline
        self._user_agent = user_agent
        self._monotonic = monotonic
        self._size = connections_per_destination
        self._ports = ports_allowed
        self._start_afresh()

    def post(
        self,
        target: AgentTarget,
        path: str,
        body: bytes | memoryview,
        headers: Mapping[str, str],
        *,
        source_host: str | None = None,
        within: float | None = None,
    ) -> HTTPAnswer:
        """POSTs to an agent, as request() has it.

        A kept-alive connection that turns out closed is replaced and the request sent again: to
        notify twice changes nothing (docs/protocol.md, section 5).
        """
        return self.request(
            "POST", target, path, headers, body=body, source_host=source_host, within=within
        )

    def get(
        self,
        target: AgentTarget,
        path: str,
        headers: Mapping[str, str],
        *,
        source_host: str | None = None,
        within: float | None = None,
        most: int = MAX_ANSWER,
    ) -> HTTPAnswer:
        """GETs from an agent, as request() has it; ``most`` octets of the body are read."""
        return self.request(
            "GET", target, path, headers, source_host=source_host, within=within, most=most
        )

    def request(
        self,
        method: str,
        target: AgentTarget,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | memoryview | Sequence[bytes] | None = None,
        source_host: str | None = None,
        within: float | None = None,
        most: int = MAX_ANSWER,
    ) -> HTTPAnswer:
        """Sends a request to the first of an agent's addresses that takes the connection.

        ``source_host``: our own agent's name; where one of its addresses is this machine's, the
        connection is made from that one, as the other side's origin check wants it (section 6).
        ``body``: pieces are sent chunked. ``within``: seconds that the caller has, in place of the
        deadline; ``most``: octets of the body that are read.
        Looking names up counts towards the deadline, but is not cut short by it. Raises
        AddressRefused, DNSUnavailable, ConnectionFailed, DeadlineExceeded or TLSFailed, and
        ValueError for a path or header that is not one.
        """
        _check(path, headers)
        if self._process != os.getpid():
            # The connections, the watchdog's thread and perhaps a held lock are the parent's.
            self._start_afresh()
        end = self._monotonic() + (within or self._deadline)
        request = _Request(method, target, path, headers, body, most)
        try:
            return self._first_connected(request, self._routes_to(target, source_host), end)
        except ConnectionFailed:
            # It may be elsewhere by now.
            with self._lock:
                self._routes.pop((target, source_host), None)
            raise

    def _first_connected(
        self, request: _Request, routes: Sequence[_Route], end: float
    ) -> HTTPAnswer:
        *others, last = routes
        for route in others:
            try:
                return self._exchange(request, route, end)
            except ConnectionFailed as error:
                if not not_connected(error.__cause__):
                    raise
        return self._exchange(request, last, end)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._pools: OrderedDict[object, Connections] = OrderedDict()
        self._routes: OrderedDict[object, tuple[float, Sequence[_Route]]] = OrderedDict()
        self._context: ssl.SSLContext | None = None
        self._watchdog = Watchdog(self._monotonic)
        # Last: another thread may go on as soon as it sees this.
        self._process = os.getpid()

    def _routes_to(self, target: AgentTarget, source_host: str | None) -> Sequence[_Route]:
        """The addresses to try, at least one, each with ours to connect from."""
        key, now = (target, source_host), self._monotonic()
        with self._lock:
            until, routes = self._routes.get(key, (now, ()))
        if routes and now < until:
            return routes
        candidates = self._candidates(target)
        sources = self._sources(source_host)
        routes = [_Route(address, source_for(address, sources)) for address in candidates]
        with self._lock:
            self._routes.pop(key, None)
            self._routes[key] = now + ROUTES_KEPT, routes
            if len(self._routes) > MAX_POOLS:
                self._routes.popitem(last=False)
        return routes

    def _candidates(self, target: AgentTarget) -> Sequence[Address]:
        """The addresses to try, IPv6 and IPv4 in turn, at least one."""
        if port_refused(target.port, self._ports):
            raise AddressRefused(f"{target.host} names port {target.port}, which is not for HTTP")
        found = vet(target.host, self._discovery.addresses(target.host), self._allowed)
        if not found:
            raise ConnectionFailed(f"{target.host} has no address")
        six = [address for address in found if address.version == 6]
        four = [address for address in found if address.version == 4]
        in_turn = [one[place] for place in range(len(found)) for one in (six, four) if one[place:]]
        return in_turn[:MAX_ADDRESSES_TRIED]

    def _sources(self, host: str | None) -> Sequence[Address]:
        """The addresses of a host of ours; none where that is not known."""
        if host is None:
            return ()
        try:
            return self._discovery.addresses(host)[:MAX_SOURCES_TRIED]
        except XHMTPError:
            return ()

    def _exchange(self, request: _Request, route: _Route, end: float) -> HTTPAnswer:
        key = (request.target, route.address, route.source)
        try:
            return self._attempt(self._pool(key), request, route.address, end)
        except ConnectionFailed as error:
            if not is_stale(error.__cause__):
                raise
        with self._lock:
            self._pools.pop(key, None)
        return self._attempt(self._pool(key), request, route.address, end)

    def _attempt(
        self, pool: Connections, request: _Request, address: Address, end: float
    ) -> HTTPAnswer:
        host = request.target.host
        left = end - self._monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{host} did not answer in time")
        with self._watchdog.until(end) as deadline:
            connection = pool.take()
            try:
                answer = connection.exchange(
                    request.method,
                    request.path,
                    request.body,
                    self._headers(request),
                    connect_timeout=min(self._connect_timeout, left),
                    read_timeout=min(self._read_timeout, left),
                )
                read, is_whole = _read(answer, address, request.most)
            except FAILURES as error:
                connection.close()
                if deadline.passed:
                    raise DeadlineExceeded(f"{host} did not answer in time") from error
                raise failure_of(error, host) from error
            if is_whole and not deadline.passed:
                pool.give_back(connection)
            else:
                connection.close()
            if deadline.passed:
                # The watchdog's shutting down looks like the end of an answer without a length.
                raise DeadlineExceeded(f"{host} did not answer in time")
        if read.status < 200:
            raise ConnectionFailed(f"{host} gave no final answer")
        return read

    def _headers(self, request: _Request) -> dict[str, str]:
        target = request.target
        host = target.host
        if target.port != _DEFAULT_PORTS[target.scheme]:
            host += f":{target.port}"
        ours = {"Host": host, "User-Agent": self._user_agent, "Accept-Encoding": "identity"}
        return {**ours, **request.headers}

    def _pool(self, key: tuple[AgentTarget, Address, str | None]) -> Connections:
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._new_pool(*key)
            self._pools.move_to_end(key)
            if len(self._pools) > MAX_POOLS:
                self._pools.popitem(last=False)[1].close()
        return pool

    def _new_pool(self, target: AgentTarget, address: Address, source: str | None) -> Connections:
        tls = TLS(self._tls_context(), target.host) if target.scheme == "https" else None
        return Connections(
            lambda: WatchedConnection(
                address, target.port, source=source, watchdog=self._watchdog, tls=tls
            ),
            self._size,
        )

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._tls_ca_file)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._context.hostname_checks_common_name = False
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context


def _check(path: str, headers: Mapping[str, str]) -> None:
    """Refuses what would be read as more than one line, or as another request."""
    if not _PATH.fullmatch(path):
        raise ValueError("a path is ASCII without blanks, and starts with one /")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"{name!r} is not the name of a header to be set")
        if any(character in value for character in "\0\r\n"):
            raise ValueError(f"the header {name} has a line end in it")


def _read(answer: http.client.HTTPResponse, address: Address, most: int) -> tuple[HTTPAnswer, bool]:
    """The answer with at most so many octets, and whether they were all."""
    body = bytearray()
    is_whole = False
    while len(body) <= most:
        piece = answer.read(STEP)
        if not piece:
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
            is_whole = True
            break
        body += piece
    headers = {
        name.lower()[:100]: re.sub(r"[\r\n]+[ \t]*", " ", value)[:4096]
        for name, value in answer.headers.items()
    }
    read = HTTPAnswer(answer.status, headers, bytes(body[:most]), len(body) > most, address)
    return read, is_whole and answer.status >= 200
