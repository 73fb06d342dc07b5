"""Another domain, as a message to it finds it: records, addresses, TLS, an agent that answers."""

import email.utils
from collections.abc import Iterator

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks.finding import Finding, broken, ok, warning
from xhmtp_wsgi.checks.outside import PROBLEM, WITHIN
from xhmtp_wsgi.discovery import MAX_TARGETS_TRIED, AgentTarget
from xhmtp_wsgi.errors import BadDomain, DNSUnavailable, NoService, XHMTPError
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.hostname import parse_hostname
from xhmtp_wsgi.routes import inbox_path

CLOCKS_APART = 60.0  # seconds
THEIRS = "tell its owner; nothing is wrong here"


def findings(agent: Agent, domain: str) -> Iterator[Finding]:
    """What a message to that domain would meet. Raises MalformedAddress."""
    domain = parse_hostname(domain)
    try:
        targets = agent.discovery.agents(domain)[:MAX_TARGETS_TRIED]
        prefix = agent.discovery.prefix(domain)
    except DNSUnavailable as error:
        yield broken("dns", domain, str(error), "ask again later; messages are tried again")
        return
    except (NoService, BadDomain) as error:
        yield broken("dns", domain, str(error), THEIRS)
        return
    named = ", ".join(f"{one.scheme}://{one.host}:{one.port}/{prefix}" for one in targets)
    yield ok("dns", domain, f"leads to {named}")
    for target in targets:
        yield from _target(agent, domain, target, prefix)


def _target(agent: Agent, domain: str, target: AgentTarget, prefix: str) -> Iterator[Finding]:
    where = f"{target.scheme}://{target.host}:{target.port}"
    path = inbox_path(prefix, Endpoint("postmaster", domain))
    try:
        answer = agent.network.get(target, path, {"Accept": "application/json"}, within=WITHIN)
    except XHMTPError as error:
        yield broken("agent", where, str(error), THEIRS)
        return
    # The feed is its owner's: an agent of XHMTP asks for his password.
    if answer.status == 401 and answer.headers.get("content-type", "").startswith(PROBLEM):
        yield ok("agent", where, "answers as an agent of XHMTP does")
    else:
        yield warning(
            "agent", where, f"answers {answer.status} where a feed wants its owner's password",
            THEIRS,
        )  # fmt: skip
    yield from _clock(agent, where, answer)


def _clock(agent: Agent, where: str, answer: HTTPAnswer) -> Iterator[Finding]:
    told = email.utils.parsedate_tz(answer.headers.get("date", ""))
    if told is None:
        return
    apart = email.utils.mktime_tz(told) - agent.clock()
    if abs(apart) > CLOCKS_APART:
        yield warning(
            "clock", where, f"its clock and ours are {abs(apart):.0f} s apart: signatures count "
            "for 300 s", "see which of the two is right; set ours by NTP",
        )  # fmt: skip
    else:
        yield ok("clock", where, "goes as ours does")
