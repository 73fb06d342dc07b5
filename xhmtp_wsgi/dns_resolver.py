"""Questions to the DNS and their answers: the only place that knows dnspython.

``Resolver`` is the seam: discovery asks it, and tests hand in a fake. ``DNSResolver`` asks real
name servers, ``CachingResolver`` keeps another's answers for their TTL, for a whole process.

Security: an answer is what a stranger's zone says, or a forger on the way. Packets that do not fit
the question are passed over (dnspython 2.6.1 or later; CVE-2023-29483), and the number and size of
records are bounded. Only a resolver on this machine is believed when it says that it has validated.
"""

import ipaddress
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.resolver

from xhmtp_wsgi.errors import DNSUnavailable

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

TIMEOUT, LIFETIME = 3.0, 6.0  # seconds for one try, and for all tries of one question
UDP_PAYLOAD = 1232  # octets; more comes over TCP (RFC 9715)
LONGEST_TTL = 3600  # seconds
NEGATIVE_TTL = 60  # seconds at most for which "there is none" is kept (RFC 2308)
FAILURE_TTL = 2  # seconds for which a name server that failed is not asked the same again
REFRESHED_AFTER = 30.0  # seconds for which an answer is not asked for again, even if doubted
MOST_KEPT = 10_000  # answers
MOST_RECORDS = 100  # of one answer
MOST_TEXT = 4096  # octets of one TXT record; nothing that XHMTP reads is as long


@dataclass(frozen=True, slots=True)
class SRVRecord:
    """Where a service is (RFC 2782); ``target`` has no final dot, and is ``.`` for no service."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class TXTRecord:
    """A TXT record: the octets of all its strings, one after another, and how many they were."""

    octets: bytes
    strings: int


Record: TypeAlias = SRVRecord | TXTRecord | Address


@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS answered, to be kept for ``ttl`` seconds.

    No records where the name has none of that kind; ``exists`` is false where there is no such name
    at all. ``authenticated``: a validating resolver on this machine vouches for it (RFC 4035).
    """

    records: tuple[Record, ...]
    ttl: int
    exists: bool = True
    authenticated: bool = False


class Resolver(Protocol):
    """Who answers questions."""

    def resolve(self, name: str, kind: str) -> Answer:
        """The records of that name and kind (SRV, TXT, A, AAAA). Raises DNSUnavailable."""

    def refresh(self, name: str) -> None:
        """Answers of that name that were kept for a while are to be asked for anew."""


class DNSResolver:
    """Asks name servers, over UDP, and again over TCP where an answer was truncated."""

    def __init__(
        self,
        servers: Sequence[tuple[str, int]] = (),
        *,
        timeout: float = TIMEOUT,
        lifetime: float = LIFETIME,
    ) -> None:
        """``servers``: addresses and ports; none: those of the system, found at the first question.

        ``timeout`` and ``lifetime`` are seconds, for one try and for a whole question. Raises
        ValueError for a server that is not an address: to find it, one would have to ask it.
        """
        for address, _ in servers:
            ipaddress.ip_address(address)
        self._servers = tuple(servers)
        self._timeout, self._lifetime = timeout, lifetime
        self._resolver: dns.resolver.Resolver | None = None

    def resolve(self, name: str, kind: str) -> Answer:
        """As Resolver has it; SERVFAIL, REFUSED, silence and nonsense are DNSUnavailable."""
        try:
            found = self._opened().resolve(
                dns.name.from_text(name), kind, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN as error:
            return Answer((), _negative_ttl(error), exists=False)
        except (dns.exception.DNSException, OSError) as error:
            raise DNSUnavailable(f"the DNS does not tell {kind} of {name} just now") from error
        authenticated = bool(found.response.flags & dns.flags.AD) and _is_local(found.nameserver)
        ttl = found.chaining_result.minimum_ttl
        if found.rrset is None:
            return Answer((), min(ttl, NEGATIVE_TTL), authenticated=authenticated)
        records = tuple(record_of(data) for data in list(found.rrset)[:MOST_RECORDS])
        return Answer(records, ttl, authenticated=authenticated)

    def refresh(self, name: str) -> None:
        """Keeps nothing."""

    def _opened(self) -> dns.resolver.Resolver:
        if self._resolver is None:
            resolver = dns.resolver.Resolver(configure=not self._servers)
            if self._servers:
                resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(address, port) for address, port in self._servers
                ]
            resolver.timeout, resolver.lifetime = self._timeout, self._lifetime
            resolver.use_edns(0, 0, UDP_PAYLOAD)
            # AD in a question asks a validating resolver whether it vouches (RFC 6840, 5.7).
            resolver.flags = dns.flags.RD | dns.flags.AD
            self._resolver = resolver
        return self._resolver


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, or the words of a failure, and until when it is good."""

    since: float
    until: float
    answer: Answer | str


class CachingResolver:
    """Keeps another resolver's answers. Safe to be used by several threads, and after a fork."""

    def __init__(self, resolver: Resolver, monotonic: Callable[[], float]) -> None:
        self._resolver = resolver
        self._monotonic = monotonic
        self.forget_all()

    def resolve(self, name: str, kind: str) -> Answer:
        """As Resolver has it. The answer's TTL is what is left of it.

        No lock is held while the DNS is asked: a slow name server delays its own questions only.
        """
        if self._process != os.getpid():
            # The lock may be held for ever by a thread that only the parent process has.
            self.forget_all()
        question = (_plain(name), kind)
        now = self._monotonic()
        with self._lock:
            kept = self._kept.get(question)
        if kept is not None and kept.until > now:
            if isinstance(kept.answer, str):
                raise DNSUnavailable(kept.answer)
            return replace(kept.answer, ttl=math.ceil(kept.until - now))
        try:
            answer = self._resolver.resolve(name, kind)
        except DNSUnavailable as error:
            self._keep(question, str(error), FAILURE_TTL)
            raise
        self._keep(question, answer, _seconds_kept(answer))
        return answer

    def forget(self, name: str) -> None:
        """Asks anew for whatever belongs to that name."""
        with self._lock:
            for question in [known for known in self._kept if known[0] == _plain(name)]:
                del self._kept[question]

    def refresh(self, name: str) -> None:
        """As Resolver has it; what was asked for just now stays: a stranger may want us to ask."""
        oldest = self._monotonic() - REFRESHED_AFTER
        with self._lock:
            for question, kept in list(self._kept.items()):
                if question[0] == _plain(name) and kept.since <= oldest:
                    del self._kept[question]

    def forget_all(self) -> None:
        """Asks anew for everything."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        # Last: another thread may go on as soon as it sees this.
        self._process = os.getpid()

    def _keep(self, question: tuple[str, str], answer: Answer | str, seconds: int) -> None:
        now = self._monotonic()
        with self._lock:
            self._kept.pop(question, None)
            if seconds > 0:
                self._kept[question] = _Kept(now, now + seconds, answer)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)


def record_of(data: object) -> Record:
    """A record as dnspython has it, as a value. Raises DNSUnavailable for another kind."""
    if isinstance(data, dns.rdtypes.IN.SRV.SRV):
        target = data.target.to_text(omit_final_dot=True)
        return SRVRecord(data.priority, data.weight, data.port, target)
    if isinstance(data, dns.rdtypes.ANY.TXT.TXT):
        return TXTRecord(b"".join(data.strings)[:MOST_TEXT], len(data.strings))
    if isinstance(data, dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA):
        return ipaddress.ip_address(data.address)
    raise DNSUnavailable("the DNS answered with a record of another kind")


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _seconds_kept(answer: Answer) -> int:
    return min(answer.ttl, LONGEST_TTL if answer.records else NEGATIVE_TTL)


def _negative_ttl(error: dns.resolver.NXDOMAIN) -> int:
    replies: Iterable[dns.message.QueryMessage] = error.kwargs["responses"].values()
    try:
        return min(NEGATIVE_TTL, *(reply.resolve_chaining().minimum_ttl for reply in replies))
    except dns.exception.DNSException:
        return NEGATIVE_TTL


def _is_local(nameserver: str | None) -> bool:
    """Over a network, anyone on the way could have set the AD bit."""
    try:
        return nameserver is not None and ipaddress.ip_address(nameserver).is_loopback
    except ValueError:
        return False
