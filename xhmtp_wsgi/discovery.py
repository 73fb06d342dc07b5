"""Discovery: where a domain's agents are, below which prefix, and which addresses a host has.

What XHMTP asks of the DNS (docs/protocol.md, section 2). The notifier asks it for the way to a
recipient, the origin check for a host's addresses, the agent for its own prefix.

Security: every answer is what a stranger's zone says. Only LDH names and checked prefixes leave
this module, what is not an LDH name is never asked for, and SERVFAIL on ``_xhmtps`` is no leave to
speak in clear.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from xhmtp_wsgi.dns_resolver import Address, Answer, Record, Resolver, SRVRecord, TXTRecord
from xhmtp_wsgi.errors import (
    BadDomain,
    DNSUnavailable,
    MalformedAddress,
    MalformedPrefix,
    MalformedSignature,
    NoService,
)
from xhmtp_wsgi.protocol.hostname import parse_hostname
from xhmtp_wsgi.protocol.prefix import DEFAULT_PREFIX, parse_prefix
from xhmtp_wsgi.protocol.signature import KeyName, parse_key_record

MAX_SRV_RECORDS = 20
MAX_TARGETS_TRIED = 4
MAX_TXT_STRINGS = 8


@dataclass(frozen=True, slots=True)
class AgentTarget:
    """An agent of a domain; ``authenticated``: the local resolver vouches for it (DNSSEC)."""

    scheme: str
    host: str
    port: int
    authenticated: bool = False


class Discovery:
    """What XHMTP asks of the DNS. Names are LDH names; for others MalformedAddress is raised."""

    def __init__(self, resolver: Resolver, chance: random.Random | None = None) -> None:
        """``chance`` decides among targets of equal priority, by their weights."""
        self._resolver = resolver
        self._chance = chance or random.Random()  # noqa: S311 - shares a load, guards nothing

    def agents(self, domain: str) -> tuple[AgentTarget, ...]:
        """The domain's agents, at least one, in the order in which they are to be tried.

        Callers try the first MAX_TARGETS_TRIED. Raises NoService (no such domain, no record, target
        ``.``), BadDomain (no usable record), or DNSUnavailable.
        """
        return self.agents_with_ttl(domain)[0]

    def agents_with_ttl(self, domain: str) -> tuple[tuple[AgentTarget, ...], int]:
        """The domain's agents, and the seconds for which they may be kept. Raises likewise."""
        domain = parse_hostname(domain)
        for service, scheme in (("_xhmtps", "https"), ("_xhmtp", "http")):
            answer = self._resolver.resolve(f"{service}._tcp.{domain}", "SRV")
            records = [record for record in answer.records if isinstance(record, SRVRecord)]
            if records:
                return self._targets(domain, scheme, records, answer), answer.ttl
        if self._is_unknown(domain):
            raise NoService(f"the DNS knows no domain {domain}")
        raise NoService(f"{domain} has no SRV record that names an agent of XHMTP")

    def prefix(self, domain: str) -> str:
        """The domain's prefix. Raises BadDomain or DNSUnavailable."""
        return self.prefix_with_ttl(domain)[0]

    def prefix_with_ttl(self, domain: str) -> tuple[str, int]:
        """The domain's prefix, and the seconds for which it may be kept. Raises likewise."""
        name = f"_prefix._xhmtp.{parse_hostname(domain)}"
        answer = self._resolver.resolve(name, "TXT")
        records = [record for record in answer.records if isinstance(record, TXTRecord)]
        if not records:
            return DEFAULT_PREFIX, answer.ttl
        if len(records) > 1:
            raise BadDomain(f"{name} has several TXT records; one is allowed")
        if records[0].strings > MAX_TXT_STRINGS:
            raise BadDomain(f"the TXT record of {name} has more than {MAX_TXT_STRINGS} strings")
        try:
            return parse_prefix(records[0].octets.decode("ascii")), answer.ttl
        except UnicodeDecodeError:
            raise BadDomain(f"the TXT record of {name} is not ASCII") from None
        except MalformedPrefix as error:
            raise BadDomain(f"the TXT record of {name}: {error}") from None

    def key(self, name: KeyName, *, fresh: bool = False) -> bytes | None:
        """The public key of that name; None if it is revoked.

        ``fresh``: not what was kept for a while. Raises BadDomain (no record, or none that is
        understood) or DNSUnavailable.
        """
        if fresh:
            self._resolver.refresh(str(name))
        answer = self._resolver.resolve(str(name), "TXT")
        records = [record for record in answer.records if isinstance(record, TXTRecord)]
        if len(records) != 1:
            raise BadDomain(f"the DNS has {len(records) or 'no'} key records at {name}")
        try:
            return parse_key_record(records[0].octets)
        except MalformedSignature as error:
            raise BadDomain(f"at {name}: {error}") from None

    def addresses(
        self, host: str, versions: Sequence[int] = (6, 4), *, fresh: bool = False
    ) -> tuple[Address, ...]:
        """The host's addresses of these IP versions, in that order; none where there is no host.

        Where one version cannot be asked for and the other is known, it is the other alone: enough
        to connect to. Who must know that an address is *not* the host's asks for its version only.
        ``fresh``: not what was kept for a while. Raises DNSUnavailable where none is known and one
        may exist.
        """
        host = parse_hostname(host)
        if fresh:
            self._resolver.refresh(host)
        found: list[Address] = []
        failure: DNSUnavailable | None = None
        for version in versions:
            try:
                answer = self._resolver.resolve(host, {4: "A", 6: "AAAA"}[version])
            except DNSUnavailable as error:
                failure = error
                continue
            found += [
                record for record in answer.records if not isinstance(record, SRVRecord | TXTRecord)
            ]
        if not found and failure is not None:
            raise failure
        return tuple(found)

    def published(self, name: str, kind: str) -> tuple[Record, ...]:
        """All records of a name and kind, as they are, to be compared. Raises DNSUnavailable."""
        return self._resolver.resolve(name, kind).records

    def _is_unknown(self, domain: str) -> bool:
        """Is there no such domain at all? Asked only to find the better words for a failure."""
        try:
            return not self._resolver.resolve(domain, "A").exists
        except DNSUnavailable:
            return False

    def _targets(
        self, domain: str, scheme: str, records: Sequence[SRVRecord], answer: Answer
    ) -> tuple[AgentTarget, ...]:
        if any(record.target == "." for record in records):
            raise NoService(f"{domain} says that it takes no messages")
        usable = []
        for record in records[:MAX_SRV_RECORDS]:
            try:
                host = parse_hostname(record.target)
            except MalformedAddress:
                continue
            if record.port > 0:
                usable.append(SRVRecord(record.priority, record.weight, record.port, host))
        if not usable:
            raise BadDomain(f"no SRV record of {domain} names a host and a port")
        return tuple(
            AgentTarget(scheme, record.target, record.port, answer.authenticated)
            for record in self._ordered(usable)
        )

    def _ordered(self, records: list[SRVRecord]) -> list[SRVRecord]:
        """By priority; among equals at random, as the weights say (RFC 2782)."""
        ordered = []
        # Those of weight 0 first, so that they keep a small chance.
        left = sorted(records, key=lambda record: (record.priority, record.weight))
        while left:
            equals = [record for record in left if record.priority == left[0].priority]
            point = self._chance.randint(0, sum(record.weight for record in equals))
            for record in equals:
                point -= record.weight
                if point <= 0:
                    ordered.append(record)
                    left.remove(record)
                    break
        return ordered
