"""Ways: where notifications go to, and where our own agents are, asked for once in a while.

A pass tells thousands at one domain, and what the DNS says of it is worked out once for all that
begin within a few seconds, never for longer than its TTL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.discovery import MAX_TARGETS_TRIED, AgentTarget
from xhmtp_wsgi.errors import DNSUnavailable, OwnDomainInError, Permanent, Transient
from xhmtp_wsgi.setting_types import AgentURL

KEPT_FOR = 10.0  # seconds at most
MOST_KEPT = 1000  # domains

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Way:
    """A domain's agents, in the order in which they are tried, and its prefix."""

    targets: tuple[AgentTarget, ...]
    prefix: str


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """Where one of our own domains is reached from outside, and its prefix."""

    url: AgentURL
    prefix: str


class Ways:
    """The ways of one pass; safe to be used by several threads."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._ways: dict[str, tuple[float, Way]] = {}
        self._own: dict[str, tuple[float, OwnPlace]] = {}

    def to(self, domain: str) -> Way:
        """The way to a domain. Raises NoService, BadDomain or DNSUnavailable."""
        return self._kept(self._ways, domain, self._way)

    def own(self, domain: str) -> OwnPlace:
        """Where a domain of ours is. Raises OwnDomainInError, or Transient."""
        return self._kept(self._own, domain, self._own_place)

    def _kept(
        self,
        kept: dict[str, tuple[float, _Found]],
        domain: str,
        find: Callable[[str], tuple[float, _Found]],
    ) -> _Found:
        now = self._agent.monotonic()
        until, found = kept.get(domain, (now, None))
        if found is not None and now < until:
            return found
        seconds, found = find(domain)
        if len(kept) >= MOST_KEPT:
            kept.clear()
        kept[domain] = now + min(seconds, KEPT_FOR), found
        return found

    def _way(self, domain: str) -> tuple[float, Way]:
        targets, ttl = self._agent.discovery.agents_with_ttl(domain)
        prefix, prefix_ttl = self._agent.discovery.prefix_with_ttl(domain)
        # Several agents share the load by their weights: the order is another one each time.
        seconds = 0 if len(targets) > 1 else min(ttl, prefix_ttl)
        return seconds, Way(targets[:MAX_TARGETS_TRIED], prefix)

    def _own_place(self, domain: str) -> tuple[float, OwnPlace]:
        try:
            return KEPT_FOR, OwnPlace(self._agent.url_of(domain), self._agent.prefixes.of(domain))
        except Permanent as error:
            raise OwnDomainInError(domain, error) from error
        except DNSUnavailable as error:
            # Nothing is said against the recipient's domain by that.
            raise Transient(f"where {domain} itself is reached is not known: {error}") from error
