"""Which paths are ours: the prefixes of the agent's own domains, kept fresh (protocol, section 2).

A prefix stands in the settings, or else in the domain's TXT record. The DNS is asked on a thread
of its own, never while a request of the site waits; until it has answered, the prefix is that of
last time, kept in the database. Only the very first request of a process waits, for at most
FIRST_WAIT, so that a notification that comes right after a restart is not taken for the site's.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping

from sqlalchemy import Column, Table, Text, delete, insert, select

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.discovery import Discovery
from xhmtp_wsgi.errors import BadDomain, Transient, XHMTPError
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.settings import DomainSettings

logger = logging.getLogger(__name__)

known_prefixes = Table(
    "known_prefix",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("prefix", Text, nullable=False),
)

FIRST_WAIT = 0.5  # seconds
SHORTEST, LONGEST = 5.0, 3600.0  # seconds between two questions
AFTER_FAILURE = 2.0  # seconds, doubled with each failure up to 32


class OwnPrefixes:
    """The prefixes of an agent's own domains."""

    def __init__(
        self,
        domains: Mapping[str, DomainSettings],
        discovery: Discovery,
        database: Database,
        monotonic: Callable[[], float],
    ) -> None:
        """``domains``: the agent's own, by name."""
        self._settled = {name: domain.prefix for name, domain in domains.items() if domain.prefix}
        self._asked_for = [name for name, domain in domains.items() if not domain.prefix]
        self._discovery = discovery
        self._database = database
        self._monotonic = monotonic
        self._found: dict[str, str] = {}
        self._paths = self._longest_first()
        self._due = 0.0
        self._failures = 0
        self._start_afresh()

    def match(self, path: str) -> str | None:
        """The prefix that this path lies below, without slashes at its ends, or None."""
        self._keep_fresh()
        for start, prefix in self._paths:
            if path.startswith(start) and (len(path) == len(start) or path[len(start)] == "/"):
                return prefix
        return None

    def of(self, domain: str) -> str:
        """The prefix of one of the agent's own domains.

        Asks the DNS if need be, so it is for whoever may wait. Raises DNSUnavailable or BadDomain
        where it is not known even from last time.
        """
        if domain in self._settled:
            return self._settled[domain]
        try:
            return self._discovery.prefix(domain)
        except Transient:
            remembered = self._found.get(domain) or self._remembered().get(domain)
            if remembered is None:
                raise
            return remembered

    def _start_afresh(self) -> None:
        self._process = os.getpid()
        self._asking = threading.Lock()
        self._first_answer = threading.Event()
        self._waited = False

    def _keep_fresh(self) -> None:
        if not self._asked_for or self._monotonic() < self._due:
            return
        if self._process != os.getpid():
            # Threads and locks do not survive a fork.
            self._start_afresh()
        if self._asking.acquire(blocking=False):
            threading.Thread(target=self._ask, name="xhmtp-prefixes", daemon=True).start()
        if not self._waited:
            self._first_answer.wait(FIRST_WAIT)
            self._waited = True

    def _ask(self) -> None:
        try:
            if not self._found:
                self._take(self._remembered())
            shortest = LONGEST
            failed = False
            for domain in self._asked_for:
                try:
                    prefix, ttl = self._discovery.prefix_with_ttl(domain)
                except XHMTPError as error:
                    failed = True
                    self._log_failure(domain, error)
                else:
                    shortest = min(shortest, max(ttl, SHORTEST))
                    self._learn(domain, prefix)
            self._failures = self._failures + 1 if failed else 0
            wait = AFTER_FAILURE * 2 ** min(self._failures - 1, 4) if failed else shortest
            self._due = self._monotonic() + wait
        finally:
            self._first_answer.set()
            self._asking.release()

    def _log_failure(self, domain: str, error: XHMTPError) -> None:
        if self._failures == 0 or isinstance(error, BadDomain):
            logger.warning("the prefix of %s is not known anew: %s", domain, error)

    def _take(self, prefixes: Mapping[str, str]) -> None:
        self._found.update({name: prefixes[name] for name in self._asked_for if name in prefixes})
        self._paths = self._longest_first()

    def _learn(self, domain: str, prefix: str) -> None:
        if self._found.get(domain) == prefix:
            return
        # Written down first: what we answer to is known after a restart.
        try:
            with self._database.transaction() as connection:
                connection.execute(delete(known_prefixes).where(known_prefixes.c.domain == domain))
                connection.execute(insert(known_prefixes).values(domain=domain, prefix=prefix))
        except Transient as error:
            logger.warning("the prefix of %s is not remembered: %s", domain, error)
        self._take({domain: prefix})

    def _remembered(self) -> dict[str, str]:
        try:
            with self._database.reading() as connection:
                return {
                    row.domain: row.prefix for row in connection.execute(select(known_prefixes))
                }
        except Transient as error:
            logger.warning("prefixes of last time are not to be had: %s", error)
            return {}

    def _longest_first(self) -> tuple[tuple[str, str], ...]:
        prefixes = {*self._settled.values(), *self._found.values()}
        return tuple((f"/{prefix}", prefix) for prefix in sorted(prefixes, key=len, reverse=True))
