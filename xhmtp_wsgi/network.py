"""HTTP to other agents: the only place that opens connections. The notifier calls it.

A host is looked up once, each of its addresses is vetted, and the connection is made to a vetted
address while Host, SNI and the certificate stay the name's. Connections are kept alive and used
again. Nothing of the environment (proxies, .netrc) is read.

Security: no redirect is followed, nothing is decoded, at most MAX_ANSWER octets of a body are read,
and one deadline holds for the whole of a request. Certificates are always checked.
"""

import os
import re
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

import urllib3

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.discovery import AgentTarget, Discovery
from xhmtp_wsgi.dns_resolver import Address
from xhmtp_wsgi.errors import AddressRefused, ConnectionFailed, DeadlineExceeded, XHMTPError
from xhmtp_wsgi.network_addresses import Network as IPNetwork
from xhmtp_wsgi.network_addresses import port_refused, vet
from xhmtp_wsgi.network_connection import source_for
from xhmtp_wsgi.network_deadline import Watchdog
from xhmtp_wsgi.network_failure import FAILURES, failure_of, is_stale, not_connected
from xhmtp_wsgi.network_pools import KeptAlive, Way

MAX_ANSWER = 64 << 10  # octets of a body
MAX_ADDRESSES_TRIED = 4
MAX_SOURCES_TRIED = 8
STEP = 8 << 10  # octets read at once

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
        candidates = self._candidates(target)
        sources = self._sources(source_host)
        for address in candidates[:-1]:
            try:
                return self._exchange(request, address, source_for(address, sources), end)
            except ConnectionFailed as error:
                if not not_connected(error.__cause__):
                    raise
        address = candidates[-1]
        return self._exchange(request, address, source_for(address, sources), end)

    def _start_afresh(self) -> None:
        self._watchdog = Watchdog(self._monotonic)
        self._kept = KeptAlive(self._watchdog, self._size, self._tls_ca_file)
        # Last: another thread may go on as soon as it sees this.
        self._process = os.getpid()

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

    def _exchange(
        self, request: _Request, address: Address, source: str | None, end: float
    ) -> HTTPAnswer:
        way = Way(request.target, address, source)
        try:
            return self._attempt(self._kept.pool(way), request, address, end)
        except ConnectionFailed as error:
            if not is_stale(error.__cause__):
                raise
        self._kept.forget(way)
        return self._attempt(self._kept.pool(way), request, address, end)

    def _attempt(
        self, pool: urllib3.HTTPConnectionPool, request: _Request, address: Address, end: float
    ) -> HTTPAnswer:
        host = request.target.host
        left = end - self._monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{host} did not answer in time")
        with self._watchdog.until(end) as deadline:
            try:
                answer = pool.urlopen(
                    request.method,
                    request.path,
                    request.body,  # type: ignore[arg-type] # any buffer is taken, with its length
                    self._headers(request),
                    redirect=False,
                    retries=False,
                    assert_same_host=False,
                    preload_content=False,
                    decode_content=False,
                    timeout=urllib3.Timeout(
                        connect=min(self._connect_timeout, left), read=min(self._read_timeout, left)
                    ),
                )
                read = _read(answer, address, request.most)
            except FAILURES as error:
                if deadline.passed:
                    raise DeadlineExceeded(f"{host} did not answer in time") from error
                raise failure_of(error, host) from error
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


def _check(path: str, headers: Mapping[str, str]) -> None:
    """Refuses what would be read as more than one line, or as another request."""
    if not _PATH.fullmatch(path):
        raise ValueError("a path is ASCII without blanks, and starts with one /")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"{name!r} is not the name of a header to be set")
        if any(character in value for character in "\0\r\n"):
            raise ValueError(f"the header {name} has a line end in it")


def _read(answer: urllib3.BaseHTTPResponse, address: Address, most: int) -> HTTPAnswer:
    """Reads at most so many octets; the connection is kept only if they were all."""
    body = bytearray()
    whole = False
    try:
        while len(body) <= most:
            piece = answer.read(STEP, decode_content=False)
            if not piece:
                whole = answer.status >= 200
                break
            body += piece
    finally:
        if whole:
            answer.release_conn()
        else:
            answer.close()
    headers = {
        name.lower()[:100]: re.sub(r"[\r\n]+[ \t]*", " ", value)[:4096]
        for name, value in answer.headers.items()
    }
    return HTTPAnswer(answer.status, headers, bytes(body[:most]), len(body) > most, address)
