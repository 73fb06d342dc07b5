"""Agent: everything that the wings need of the world, put together; one a process.

Whatever a test may want to hold is handed in: the resolver, the clocks, the network. Nothing is
opened before it is used, and everything may be used after a fork.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xhmtp_wsgi import group_register
from xhmtp_wsgi.accounts import Accounts
from xhmtp_wsgi.addressing import Addressing
from xhmtp_wsgi.arrival import Listener, unheard
from xhmtp_wsgi.counters import ProcessCounters
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.discovery import AgentTarget, Discovery
from xhmtp_wsgi.dns_resolver import CachingResolver, DNSResolver, Resolver, SRVRecord
from xhmtp_wsgi.joint_work import JointWork
from xhmtp_wsgi.network import Network
from xhmtp_wsgi.own_prefixes import OwnPrefixes
from xhmtp_wsgi.rate_limits import RateLimits
from xhmtp_wsgi.setting_types import AgentURL
from xhmtp_wsgi.settings import DomainSettings, Settings
from xhmtp_wsgi.signing_keys import SigningKeys
from xhmtp_wsgi.site_users import HtpasswdUsers, RemoteUser, SeveralUsers, SiteUsers


@dataclass(frozen=True)
class Agent:
    """The parts of an agent."""

    settings: Settings
    database: Database
    discovery: Discovery
    network: Network
    accounts: Accounts
    addressing: Addressing
    prefixes: OwnPrefixes
    counters: ProcessCounters
    signing_keys: SigningKeys
    rate_limits: RateLimits
    clock: Callable[[], float]
    """Seconds since the epoch: for everything that is stored."""
    monotonic: Callable[[], float]
    """Seconds that never jump: for everything that is waited for."""
    long_polls: threading.Semaphore
    """How many requests of this process may wait for news at the same time."""
    on_arrival: Listener = unheard
    """What the site wants to hear of notifications that arrive."""
    arrivals: JointWork[Any, Any] = field(default_factory=JointWork)
    """Has notifications that come at the same time stored in one transaction."""

    def domain(self, name: str) -> DomainSettings | None:
        """The settings of one of the agent's own domains."""
        return self.settings.domains.get(name)

    def url_of(self, domain: str) -> AgentURL:
        """Where the agent of one of its own domains is reached from outside.

        Raises DNSUnavailable, NoService or BadDomain where neither settings nor DNS tell.
        """
        settled = self.settings.domains[domain].agent
        if settled is not None:
            return settled
        target = self._foremost(domain)
        default = {"http": 80, "https": 443}[target.scheme]
        port = None if target.port == default else target.port
        return AgentURL(target.scheme, target.host, port)

    def _foremost(self, domain: str) -> AgentTarget:
        """Of several agents that the DNS names always the same one, the best by its record.

        Our links name it: a notification that is told again with another link is another one.
        """
        targets = self.discovery.agents(domain)
        if len(targets) == 1:
            return targets[0]
        service = {"https": "_xhmtps", "http": "_xhmtp"}[targets[0].scheme]
        records = self.discovery.published(f"{service}._tcp.{domain}", "SRV")
        ranks = {
            (record.target.lower().rstrip("."), record.port): (record.priority, -record.weight)
            for record in records
            if isinstance(record, SRVRecord)
        }

        def rank(target: AgentTarget) -> tuple[tuple[float, float], str, int]:
            known = ranks.get((target.host, target.port), (float("inf"), 0.0))
            return known, target.host, target.port

        return min(targets, key=rank)


def make_agent(
    settings: Settings,
    *,
    resolver: Resolver | None = None,
    network: Network | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    users: SiteUsers | None = None,
    on_arrival: Listener = unheard,
) -> Agent:
    """An agent as its settings want it. Opens nothing yet.

    ``users``: those of the site, beside those that the settings name; ``on_arrival``: called with
    an Arrival for each new notification.
    """
    if resolver is None:
        servers = [(server.address, server.port) for server in settings.resolver]
        resolver = CachingResolver(DNSResolver(servers), monotonic)
    discovery = Discovery(resolver)
    database = Database(settings.database, settings.database_schema)
    accounts = Accounts(
        database,
        settings.domains.keys(),
        clock,
        monotonic,
        _users(settings, users),
        taken=lambda endpoint: group_register.find(database, endpoint) is not None,
    )
    return Agent(
        settings=settings,
        database=database,
        discovery=discovery,
        network=network
        or Network(
            discovery,
            allow_networks=settings.allow_networks,
            ports_allowed=settings.allow_ports or None,
            deadline=settings.try_deadline,
            connections_per_destination=settings.concurrency_per_destination,
            monotonic=monotonic,
        ),
        accounts=accounts,
        addressing=Addressing(database, accounts),
        counters=ProcessCounters(database),
        signing_keys=SigningKeys(
            database, settings.key_directory, discovery, clock, settings.key_wait
        ),
        rate_limits=RateLimits(database, clock, monotonic),
        prefixes=OwnPrefixes(settings.domains, discovery, database, monotonic),
        clock=clock,
        monotonic=monotonic,
        long_polls=threading.Semaphore(settings.long_polls),
        on_arrival=on_arrival,
    )


def _users(settings: Settings, given: SiteUsers | None) -> SiteUsers | None:
    members = [] if given is None else [given]
    if settings.remote_user:
        members.append(RemoteUser())
    if settings.htpasswd:
        members.append(HtpasswdUsers(settings.htpasswd))
    return SeveralUsers(members) if len(members) > 1 else next(iter(members), None)
