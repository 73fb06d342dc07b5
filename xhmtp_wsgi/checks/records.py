"""The DNS against the settings: where others look for the agent, and with which keys it signs."""

from collections.abc import Iterator

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks.finding import Finding, broken, ok, unknown, warning
from xhmtp_wsgi.errors import BadDomain, DNSUnavailable, NoService, XHMTPError
from xhmtp_wsgi.network_addresses import is_refused, port_refused
from xhmtp_wsgi.protocol.prefix import DEFAULT_PREFIX
from xhmtp_wsgi.published_records import (
    agent_record,
    key_zone_record,
    needed_keys,
    prefix_record,
    records_of,
)
from xhmtp_wsgi.setting_types import AgentURL
from xhmtp_wsgi.signing_keys import SigningKey

ASK = "see that the name servers in resolver (or the system's) answer, and that the zone is served"


def findings(agent: Agent, domain: str, *, keys_known: bool) -> Iterator[Finding]:
    """SRV, addresses, prefix and keys of a domain of ours."""
    yield from _agents(agent, domain)
    yield _prefix(agent, domain)
    if keys_known:
        yield from _keys(agent, domain)


def _agents(agent: Agent, domain: str) -> Iterator[Finding]:
    settled = agent.settings.domains[domain].agent
    try:
        targets = agent.discovery.agents(domain)
    except DNSUnavailable as error:
        yield broken("dns", domain, str(error), ASK)
        return
    except (NoService, BadDomain) as error:
        yield broken("dns.srv", domain, str(error), f"publish: {_srv_wanted(agent, domain)}")
        return
    urls = [
        AgentURL(one.scheme, one.host, None if (one.scheme, one.port) in _PLAIN else one.port)
        for one in targets
    ]
    yield _named(domain, settled, urls)
    for target, url in zip(targets, urls, strict=True):
        if port_refused(target.port, agent.settings.allow_ports or None):
            yield broken(
                "dns.srv", domain, f"names port {target.port}, which other agents refuse to use",
                "serve it at 80, 443 or a port above 1023",
            )  # fmt: skip
        yield from _addresses(agent, domain, url.host)


_PLAIN = {("http", 80), ("https", 443)}


def _named(domain: str, settled: AgentURL | None, urls: list[AgentURL]) -> Finding:
    """Do the records name the place that our message URLs name? Else others take them for forged.

    ``settled``: the setting ``agent``; ``urls``: where the SRV records lead.
    """
    leads = ", ".join(map(str, urls))
    if settled is None or settled in urls:
        return ok("dns.srv", domain, f"leads to {leads}")
    record = agent_record(domain, settled)
    if settled.host in [url.host for url in urls]:
        return broken(
            "dns.srv", domain, f"leads to {leads}, but agent in the settings is {settled}",
            f"publish: {record}; or take agent out of the settings",
        )  # fmt: skip
    return broken(
        "dns.agent",
        domain,
        f"agent in the settings is {settled}, a host that no SRV record names, but {leads}: the "
        "check agent fails at every agent that is told of a message of this domain, and those "
        "that ask for a signature refuse it",
        f'agent = "{urls[0]}", or take agent out of the settings; '
        f"or, if messages are to be fetched at {settled.host}, publish: {record}",
    )


def _srv_wanted(agent: Agent, domain: str) -> str:
    try:
        return str(records_of(agent, domain)[0])
    except XHMTPError:
        return str(agent_record(domain, AgentURL("http", domain, None)))


def _addresses(agent: Agent, domain: str, host: str) -> Iterator[Finding]:
    try:
        addresses = agent.discovery.addresses(host)
    except DNSUnavailable as error:
        yield broken("dns", host, str(error), ASK)
        return
    if not addresses:
        yield broken(
            "dns.host",
            host,
            f"has no address, and the SRV record of {domain} leads to it",
            f"publish: {host}. A ADDRESS",
        )
        return
    for address in addresses:
        reason = is_refused(address)
        if reason and not any(address in network for network in agent.settings.allow_networks):
            yield broken(
                "dns.host",
                host,
                f"has {address}, {reason}: agents elsewhere refuse to connect to it",
                "publish only addresses that are reached from outside; within a network of your "
                "own, put it into allow_networks of every agent there",
            )
            return
    yield ok("dns.host", host, f"has {', '.join(map(str, addresses))}")


def _prefix(agent: Agent, domain: str) -> Finding:
    settled = agent.settings.domains[domain].prefix
    try:
        published = agent.discovery.prefix(domain)
    except DNSUnavailable as error:
        return broken("dns", domain, str(error), ASK)
    except BadDomain as error:
        wanted = prefix_record(domain, settled or DEFAULT_PREFIX)
        return broken("dns.prefix", domain, str(error), f"publish just one: {wanted}")
    if settled is not None and settled != published:
        return broken(
            "dns.prefix",
            domain,
            f"tells /{published}, but prefix in the settings is {settled}",
            f"publish: {prefix_record(domain, settled)}; or take prefix out of the settings",
        )
    told = "" if _has_prefix(agent, domain) else "has no TXT record, which "
    return ok("dns.prefix", domain, f"{told}tells /{published}")


def _has_prefix(agent: Agent, domain: str) -> bool:
    record = prefix_record(domain, "")
    return bool(agent.discovery.published(record.name, record.kind))


def _keys(agent: Agent, domain: str) -> Iterator[Finding]:
    try:
        needed = needed_keys(agent, domain)
        signing = [key for key in needed if key.retired_at is None]
    except XHMTPError as error:
        yield unknown("dns.key", domain, str(error))
        return
    if not signing:
        yield warning(
            "keys", domain, "has no key: its notifications are unsigned, and some refuse those",
            f"xhmtp key add {domain}, and publish the record that it prints",
        )  # fmt: skip
    for key in signing:
        if not agent.signing_keys.has_secret(key.name):
            yield broken(
                "keys",
                domain,
                f"the secret of {key.name.selector} cannot be used on this host",
                f"copy it into {agent.settings.key_directory}/{domain}, chmod 600; or make "
                f"another: xhmtp key add {domain}",
            )
    for key in needed:
        yield _key(agent, domain, key)


def _key(agent: Agent, domain: str, key: SigningKey) -> Finding:
    record = key_zone_record(key)
    try:
        published = agent.discovery.key(key.name, fresh=True)
    except DNSUnavailable as error:
        return broken("dns.key", domain, str(error), ASK)
    except BadDomain as error:
        return broken("dns.key", domain, str(error), f"publish: {record}")
    if published is None:
        return broken(
            "dns.key", domain, f"revokes {key.name.selector}, with which it is signed here",
            f"xhmtp key add {domain}, then xhmtp key retire {domain} {key.name.selector}",
        )  # fmt: skip
    if published != key.public:
        return broken(
            "dns.key", domain, f"tells another key under the name {key.name.selector} than ours",
            f"publish: {record}",
        )  # fmt: skip
    return ok("dns.key", domain, f"tells the key {key.name.selector}")
