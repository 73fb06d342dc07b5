"""Is that host really an agent of the recipient's domain? And is it to be spoken to in clear?

The DNS without DNSSEC can be forged on the way. A target is believed where it lies in the domain,
where the local resolver vouches for the answer, or where the domain's own site names it over TLS,
at ``https://B/.well-known/xhmtp``. A domain that was reached over TLS once is not spoken to in
clear for as long as that is remembered.

What was found out is kept in the database, as each pass of the notifier is a process of its own.
"""

import re
from collections.abc import Callable

from sqlalchemy import Boolean, Column, Double, Table, Text, select

from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import Downgrade, Permanent, Transient
from xhmtp_wsgi.network import HTTPAnswer, Network
from xhmtp_wsgi.schema import metadata

WELL_KNOWN = "/.well-known/xhmtp"
KEPT_FOR = 3600.0  # seconds for which an answer about a target is good
MAX_LINES = 100
_HOST = re.compile(r"[a-z0-9.-]{1,253}(?::[0-9]{1,5})?")

tls_domains = Table(
    "tls_domain",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("seen_at", Double, nullable=False),
)
vouched_targets = Table(
    "vouched_target",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("is_vouched", Boolean, nullable=False),
    Column("seen_at", Double, nullable=False),
)


class TargetTrust:
    """What is known of other domains' agents."""

    def __init__(
        self,
        database: Database,
        network: Network,
        clock: Callable[[], float],
        remembered_for: float,
    ) -> None:
        """``remembered_for``: seconds for which a domain that had TLS must have it."""
        self._database = database
        self._network = network
        self._clock = clock
        self._remembered_for = remembered_for
        self._seen: dict[str, float | None] = {}
        self._vouched: dict[tuple[str, str], tuple[bool, float]] = {}

    def require_tls(self, domain: str, target: AgentTarget) -> None:
        """Raises Downgrade for a target in clear of a domain that was reached over TLS."""
        if target.scheme == "https":
            return
        seen = self._tls_seen(domain)
        if seen is not None and self._clock() - seen < self._remembered_for:
            raise Downgrade(f"{domain} was reached over TLS before, and now names no such agent")

    def note_tls(self, domain: str, target: AgentTarget) -> None:
        """Remembers that a domain was reached over TLS."""
        if target.scheme != "https":
            return
        now = self._clock()
        seen = self._tls_seen(domain)
        if seen is not None and 0 <= now - seen < KEPT_FOR:
            return
        self._seen[domain] = now
        with self._database.transaction() as connection:
            connection.execute(
                insert_or(connection, tls_domains)
                .values(domain=domain, seen_at=now)
                .on_conflict_do_update(index_elements=[tls_domains.c.domain], set_={"seen_at": now})
            )

    def _tls_seen(self, domain: str) -> float | None:
        """When the domain was last reached over TLS; asked of the database once a pass."""
        if domain not in self._seen:
            with self._database.reading() as connection:
                self._seen[domain] = connection.execute(
                    select(tls_domains.c.seen_at).where(tls_domains.c.domain == domain)
                ).scalar()
        return self._seen[domain]

    def is_vouched(self, domain: str, target: AgentTarget) -> bool:
        """Is the target to be believed? Asks the domain's own site where nothing else tells."""
        host = target.host
        if host == domain or host.endswith(f".{domain}") or target.authenticated:
            return True
        now, name = self._clock(), f"{host}:{target.port}"
        known = self._vouched.get((domain, name)) or self._vouched_before(domain, name)
        if known is not None and 0 <= now - known[1] < KEPT_FOR:
            self._vouched[domain, name] = known
            return known[0]
        vouched = self._is_named(domain, host, target.port)
        self._vouched[domain, name] = vouched, now
        with self._database.transaction() as connection:
            connection.execute(
                insert_or(connection, vouched_targets)
                .values(domain=domain, target=name, is_vouched=vouched, seen_at=now)
                .on_conflict_do_update(
                    index_elements=[vouched_targets.c.domain, vouched_targets.c.target],
                    set_={"is_vouched": vouched, "seen_at": now},
                )
            )
        return vouched

    def _vouched_before(self, domain: str, name: str) -> tuple[bool, float] | None:
        """What was found out about a target, and when."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(vouched_targets.c.is_vouched, vouched_targets.c.seen_at).where(
                    vouched_targets.c.domain == domain, vouched_targets.c.target == name
                )
            ).one_or_none()
        return None if row is None else (bool(row.is_vouched), row.seen_at)

    def _is_named(self, domain: str, host: str, port: int) -> bool:
        site = AgentTarget("https", domain, 443)
        try:
            answer = self._network.get(site, WELL_KNOWN, {"Accept": "text/plain"})
        except (Permanent, Transient):
            return False
        return {host, f"{host}:{port}"} & set(named_agents(answer)) != set()


def named_agents(answer: HTTPAnswer) -> tuple[str, ...]:
    """The hosts that ``.well-known/xhmtp`` names: lines ``agent: HOST`` or ``agent: HOST:PORT``."""
    if answer.status != 200 or answer.truncated:
        return ()
    found = []
    for line in answer.body.decode("utf-8", "replace").splitlines()[:MAX_LINES]:
        name, colon, value = line.partition(":")
        host = value.strip().lower()
        if colon and name.strip().lower() == "agent" and _HOST.fullmatch(host):
            found.append(host.removesuffix(":443"))
    return tuple(found)
