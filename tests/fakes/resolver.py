"""FakeResolver: the DNS as lines of text, with questions that fail."""

from collections.abc import Collection

import dns.rdata

from xhmtp_wsgi.dns_resolver import Answer, record_of
from xhmtp_wsgi.errors import DNSUnavailable

NEGATIVE_TTL = 60


class FakeResolver:
    """Answers from lines such as ``_xhmtp._tcp.b.example. 60 SRV 0 0 80 www.b.example.``

    ``failing`` holds names, or a name and a kind, such as ``www.b.example AAAA``; ``asked`` holds
    every question so far.
    """

    def __init__(self, zone: str = "", failing: Collection[str] = ()) -> None:
        self.failing = set(failing)
        self.asked: list[tuple[str, str]] = []
        self.set_zone(zone)

    def set_zone(self, zone: str) -> None:
        """Replaces all records."""
        self._found: dict[tuple[str, str], tuple[int, list[dns.rdata.Rdata]]] = {}
        for line in filter(str.strip, zone.splitlines()):
            name, ttl, kind, data = line.split(None, 3)
            key = (name.removesuffix(".").lower(), kind)
            self._found.setdefault(key, (int(ttl), []))[1].append(
                dns.rdata.from_text("IN", kind, data)
            )

    def resolve(self, name: str, kind: str) -> Answer:
        """As Resolver has it."""
        self.asked.append((name, kind))
        name = name.removesuffix(".").lower()
        if self.failing & {name, f"{name} {kind}"}:
            raise DNSUnavailable(f"the DNS does not tell {kind} of {name} just now")
        ttl, data = self._found.get((name, kind), (NEGATIVE_TTL, []))
        if not data:
            exists = any(f".{known}".endswith(f".{name}") for known, _ in self._found)
            return Answer((), NEGATIVE_TTL, exists=exists)
        return Answer(tuple(record_of(one) for one in data), ttl)

    def refresh(self, name: str) -> None:
        """Keeps nothing."""
