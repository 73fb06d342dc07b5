"""The DNS records that a domain of ours is to publish, as the agent runs (protocol, section 2).

What the settings say comes first; what they leave to the DNS is what the DNS has already; what
neither tells is what a new domain would begin with. `xhmtp dns`, `init` and `check` print them.
"""

from dataclasses import dataclass

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.dns_resolver import SRVRecord, TXTRecord
from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.protocol.prefix import DEFAULT_PREFIX
from xhmtp_wsgi.protocol.signature import key_record
from xhmtp_wsgi.setting_types import AgentURL
from xhmtp_wsgi.signing_keys import KEPT_AFTER, SigningKey

SERVICES = {"https": "_xhmtps", "http": "_xhmtp"}
PORTS = {"https": 443, "http": 80}
LOOKED_FOR = 5.0  # seconds for which a site is asked whether it has TLS


@dataclass(frozen=True, slots=True)
class ZoneRecord:
    """One line of a zone file."""

    name: str
    kind: str
    data: str

    def __str__(self) -> str:
        return f"{self.name}. {self.kind} {self.data}"


def agent_record(domain: str, agent: AgentURL) -> ZoneRecord:
    """Where the agent is."""
    port = agent.port or PORTS[agent.scheme]
    return ZoneRecord(f"{SERVICES[agent.scheme]}._tcp.{domain}", "SRV", f"0 0 {port} {agent.host}.")


def prefix_record(domain: str, prefix: str) -> ZoneRecord:
    """Below which path it answers."""
    return ZoneRecord(f"_prefix._xhmtp.{domain}", "TXT", f'"{prefix}"')


def key_zone_record(key: SigningKey) -> ZoneRecord:
    """A key that signs for it."""
    return ZoneRecord(str(key.name), "TXT", f'"{key_record(key.public)}"')


def agent_urls(agent: Agent, domain: str) -> tuple[AgentURL, ...]:
    """Where the agent of a domain is reached, as its settings or else the DNS tell; best first.

    Raises DNSUnavailable, NoService or BadDomain.
    """
    settled = agent.settings.domains[domain].agent
    if settled is not None:
        return (settled,)
    return tuple(
        AgentURL(
            target.scheme, target.host, None if target.port == PORTS[target.scheme] else target.port
        )
        for target in agent.discovery.agents(domain)
    )


def likely_agent(agent: Agent, domain: str) -> AgentURL:
    """Where the agent of a new domain would be: its web site, over TLS where that has it."""
    hosts = [host for host in (domain, f"www.{domain}") if _has_address(agent, host)]
    for host in hosts:
        try:
            agent.network.get(AgentTarget("https", host, 443), "/", {}, within=LOOKED_FOR)
        except XHMTPError:
            continue
        return AgentURL("https", host, None)
    return AgentURL("http", (hosts or [domain])[0], None)


def _has_address(agent: Agent, host: str) -> bool:
    try:
        return bool(agent.discovery.addresses(host))
    except XHMTPError:
        return False


def records_of(agent: Agent, domain: str) -> tuple[ZoneRecord, ...]:
    """All that a domain is to publish; where nothing tells its agent, the likely one.

    Raises DatabaseUnavailable.
    """
    try:
        urls = agent_urls(agent, domain)
    except XHMTPError:
        urls = (likely_agent(agent, domain),)
    return (
        *(agent_record(domain, url) for url in urls),
        prefix_record(domain, _prefix(agent, domain)),
        *(key_zone_record(key) for key in needed_keys(agent, domain)),
    )


def is_published(agent: Agent, record: ZoneRecord) -> bool:
    """Does the DNS have it, at whatever priority and weight? Raises DNSUnavailable."""
    for found in agent.discovery.published(record.name, record.kind):
        if isinstance(found, SRVRecord) and record.data.endswith(f" {found.port} {found.target}."):
            return True
        if isinstance(found, TXTRecord) and record.data.encode() == b'"' + found.octets + b'"':
            return True
    return False


def needed_keys(agent: Agent, domain: str) -> tuple[SigningKey, ...]:
    """The keys whose records must stand in the DNS: those retired just now have signed as well."""
    now = agent.clock()
    return tuple(
        key
        for key in agent.signing_keys.all(domain)
        if key.retired_at is None or now < key.retired_at + KEPT_AFTER
    )


def _prefix(agent: Agent, domain: str) -> str:
    try:
        return agent.prefixes.of(domain)
    except XHMTPError:
        return DEFAULT_PREFIX
