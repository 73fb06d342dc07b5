"""Connections that are kept alive, by where they lead to and from; network.py uses them.

Security: each leads to the address that was vetted, and over TLS the certificate is checked for
the host's name, by OpenSSL.
"""

import ssl
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import urllib3

from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.dns_resolver import Address
from xhmtp_wsgi.network_connection import WatchedPool, WatchedTLSPool
from xhmtp_wsgi.network_deadline import Watchdog

MAX_POOLS = 256


@dataclass(frozen=True, slots=True)
class Way:
    """Where a connection leads: a host, at which of its addresses; from which of ours, or any."""

    target: AgentTarget
    address: Address
    source: str | None


class KeptAlive:
    """Pools of connections, of one process. Safe to be used by several threads."""

    def __init__(self, watchdog: Watchdog, size: int, tls_ca_file: str | None) -> None:
        """``size``: connections that are kept on one way.

        ``tls_ca_file``: the authorities that are trusted in place of the system's.
        """
        self._watchdog = watchdog
        self._size = size
        self._tls_ca_file = tls_ca_file
        self._lock = threading.Lock()
        self._pools: OrderedDict[Way, urllib3.HTTPConnectionPool] = OrderedDict()
        self._context: ssl.SSLContext | None = None

    def pool(self, way: Way) -> urllib3.HTTPConnectionPool:
        """The pool of that way; of MAX_POOLS the one that was not used for longest is dropped."""
        # One that is dropped is not closed: another thread may be using it. It closes when it goes.
        with self._lock:
            pool = self._pools.get(way)
            if pool is None:
                pool = self._pools[way] = self._new_pool(way)
            self._pools.move_to_end(way)
            if len(self._pools) > MAX_POOLS:
                self._pools.popitem(last=False)
        return pool

    def forget(self, way: Way) -> None:
        """Lets go of what is kept on that way."""
        with self._lock:
            self._pools.pop(way, None)

    def _new_pool(self, way: Way) -> urllib3.HTTPConnectionPool:
        literal = f"[{way.address}]" if way.address.version == 6 else str(way.address)
        options: dict[str, Any] = {
            "maxsize": self._size,
            "block": False,
            "source_address": (way.source, 0) if way.source else None,
            "watchdog": self._watchdog,
        }
        if way.target.scheme == "http":
            return WatchedPool(literal, way.target.port, **options)
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._tls_ca_file)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._context.hostname_checks_common_name = False
        # No assert_hostname: it would leave the check of the name to urllib3; OpenSSL does it.
        return WatchedTLSPool(
            literal,
            way.target.port,
            cert_reqs="CERT_REQUIRED",
            ssl_context=self._context,
            server_hostname=way.target.host,
            **options,
        )
