"""From outside: does the agent's host answer below the prefix, over TLS that others accept?

The way there is the one that other agents take: the SRV record, the host's addresses, the prefix.
What arrived, and how, ``arrived`` reads from the answer.
"""

import json
from collections.abc import Iterator
from typing import Any

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks import arrived
from xhmtp_wsgi.checks.finding import Finding, broken, ok, unknown, warning
from xhmtp_wsgi.discovery import MAX_TARGETS_TRIED, AgentTarget
from xhmtp_wsgi.errors import ConnectionFailed, Permanent, TLSFailed, Transient, XHMTPError
from xhmtp_wsgi.network import HTTPAnswer, Network
from xhmtp_wsgi.network_certificate import shown_certificate
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.routes import self_test_path
from xhmtp_wsgi.self_test import HEADER, USER, invite, take_back
from xhmtp_wsgi.sender.target_trust import WELL_KNOWN, named_agents

WITHIN = 15.0  # seconds for one request
ENDS_SOON = 14 * 86400.0  # seconds that a certificate is still good
PROBLEM = "application/problem+json"
CHUNKS = (b"xh", b"mtp")


def findings(agent: Agent, network: Network, domain: str, *, may_invite: bool) -> Iterator[Finding]:
    """What requests to the agent of a domain of ours meet."""
    try:
        targets = agent.discovery.agents(domain)[:MAX_TARGETS_TRIED]
        prefix = agent.prefixes.of(domain)
        invitation = invite(agent.database, agent.clock()) if may_invite else ""
    except XHMTPError as error:
        yield unknown("agent", domain, f"could not be looked at: {error}")
        return
    try:
        for target in targets:
            yield from _clear(domain, target)
            yield from _vouched(network, domain, target)
            yield from _visit(agent, network, Visit(domain, target, prefix, invitation, network))
    finally:
        if invitation:
            take_back(agent.database, invitation)


class Visit:
    """Requests of one check to one target."""

    def __init__(
        self, domain: str, target: AgentTarget, prefix: str, invitation: str, network: Network
    ) -> None:
        self.domain, self.target, self.prefix = domain, target, prefix
        self.invitation = invitation
        self._network = network

    @property
    def url(self) -> str:
        """Where it is, as a person writes it."""
        target = self.target
        return f"{target.scheme}://{target.host}:{target.port}/{self.prefix}"

    def ask(self, address: str = "", body: tuple[bytes, ...] | None = None) -> HTTPAnswer:
        """One request to the self-test. Raises what the network raises."""
        headers = {
            "Authorization": basic_credentials(USER, self.invitation),
            "X-Forwarded-For": arrived.CLAIMED,
            "Accept": "application/json",
        }
        if self.invitation:
            headers[HEADER] = self.invitation
        return self._network.request(
            "GET" if body is None else "POST",
            self.target,
            self_test_path(self.prefix, address),
            headers,
            body=body,
            source_host=self.target.host,
            within=WITHIN,
        )


def _visit(agent: Agent, network: Network, visit: Visit) -> Iterator[Finding]:
    try:
        answer = visit.ask()
    except TLSFailed as error:
        yield broken(
            "tls", visit.url, str(error),
            "have the web server show a whole chain for that name, renewed by itself: certbot",
        )  # fmt: skip
        return
    except (Permanent, Transient) as error:
        yield broken(
            "agent", visit.url, str(error),
            f"start the web server, and let it be reached at port {visit.target.port}",
        )  # fmt: skip
        return
    if visit.target.scheme == "https":
        yield from _certificate(agent, visit, answer)
    report = report_of(answer)
    if report is None:
        yield _no_report(visit, answer)
        return
    yield ok("agent", visit.url, f"answers: {report['server'] or 'a web server'}")
    yield from arrived.findings(agent, report, visit.target, visit.invitation)
    yield from _at_sign(visit)
    yield _chunked(visit, report)


def report_of(answer: HTTPAnswer) -> dict[str, Any] | None:
    """The report in an answer; None if it is something else."""
    if answer.status != 200 or answer.truncated:
        return None
    try:
        found = json.loads(answer.body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "client-address" in found else None


def _no_report(visit: Visit, answer: HTTPAnswer) -> Finding:
    """Why the agent did not tell how the request arrived."""
    url, status = visit.url, answer.status
    ours = answer.headers.get("content-type", "").startswith(PROBLEM)
    if ours and not visit.invitation and status == 404:
        return ok("agent", url, "answers")
    if ours and status == 404:
        return broken(
            "agent", url,
            "answers, but from another database than this command uses, or as an older program",
            "restart the web server; give it the settings that this command has (--config)",
        )  # fmt: skip
    if ours:
        return broken(
            "agent", url, f"answers {status}: {_detail(answer)}",
            "the web server's log has the reason; see that its user may write the database",
        )  # fmt: skip
    if 300 <= status < 400:
        return broken(
            "agent", url, f"sends elsewhere, to {answer.headers.get('location', 'nowhere')[:200]}",
            "other agents do not follow: publish the place itself (for https: _xhmtps._tcp, 443), "
            "and let no rule of the web server redirect what is below the prefix",
        )  # fmt: skip
    if status in (401, 403):
        return broken(
            "agent", url, f"answers {status} before the request reaches XHMTP",
            "take the prefix out of the web server's own access control",
        )  # fmt: skip
    if status >= 500:
        return broken(
            "agent", url, f"answers {status}, from the web server or the site",
            "its log has the reason; see that the application starts",
        )  # fmt: skip
    return broken(
        "agent", url, f"answers {status}, and that is the site's own answer",
        f'wrap the site: application = XHMTP(site, "xhmtp.toml"); see that the web server hands '
        f"/{visit.prefix} to it, and restart it",
    )  # fmt: skip


def _detail(answer: HTTPAnswer) -> str:
    try:
        return str(json.loads(answer.body)["detail"])[:200]
    except (ValueError, KeyError, TypeError):
        return "no reason told"


def _at_sign(visit: Visit) -> Iterator[Finding]:
    address = f"bob@{visit.domain}"
    for sent in (address, address.replace("@", "%40")):
        arrives = _arrives_as(visit, sent)
        if arrives != address:
            yield broken(
                "agent.path",
                visit.url,
                f"a path with {sent} "
                + (f"arrives as {arrives}" if arrives else "is not answered"),
                "let the web server pass on the path as it came: nginx's proxy_pass without a "
                "path of its own, no rewriting",
            )
            return
    yield ok("agent.path", visit.url, "the @ in a path arrives, plain and as %40")


def _arrives_as(visit: Visit, sent: str) -> str:
    """What becomes of an address in the path; empty where there is no report."""
    try:
        report = report_of(visit.ask(sent))
    except XHMTPError:
        return ""
    return "" if report is None else str(report["address"])


def _chunked(visit: Visit, report: dict[str, Any]) -> Finding:
    try:
        answer = visit.ask(body=CHUNKS)
    except ConnectionFailed as error:
        said, found = str(error), None
    else:
        found = report_of(answer)
        said = f"answers {answer.status}" if found is None else found["body-problem"] or ""
    if found is not None and found["body-octets"] == sum(map(len, CHUNKS)):
        return ok("agent.chunked", visit.url, "a chunked body arrives")
    return warning(
        "agent.chunked",
        visit.url,
        f"a chunked body does not arrive ({said or 'it came empty'}): programs that send while "
        "they read cannot inject",
        arrived.by_server(report, {
            "mod_wsgi": "WSGIChunkedRequest On",
            "uwsgi": "http-chunked-input = true, behind http11-socket",
            "": "let the web server pass on chunked bodies, or buffer them",
        }),
    )  # fmt: skip


def _clear(domain: str, target: AgentTarget) -> Iterator[Finding]:
    if target.scheme == "http":
        yield warning(
            "clear", domain, f"{target.host} is reached in clear: passwords, codes and messages "
            "can be read on the way",
            "serve it over TLS, and publish _xhmtps._tcp in place of _xhmtp._tcp",
        )  # fmt: skip


def _vouched(network: Network, domain: str, target: AgentTarget) -> Iterator[Finding]:
    inside = target.host == domain or target.host.endswith(f".{domain}")
    if inside or target.authenticated:
        return
    site = AgentTarget("https", domain, 443)
    try:
        named = named_agents(network.get(site, WELL_KNOWN, {}, within=WITHIN))
    except XHMTPError:
        named = ()
    if not {target.host, f"{target.host}:{target.port}"} & set(named):
        yield warning(
            "vouched", domain, f"nothing but the DNS says that {target.host} is its agent",
            f'serve https://{domain}{WELL_KNOWN} with the line "agent: {target.host}", or sign '
            "the zone (DNSSEC)",
        )  # fmt: skip


def _certificate(agent: Agent, visit: Visit, answer: HTTPAnswer) -> Iterator[Finding]:
    assert answer.address is not None  # noqa: S101 - the network has it of each answer
    target = visit.target
    try:
        certificate = shown_certificate(answer.address, target.host, target.port, WITHIN)
    except ConnectionFailed as error:
        yield unknown("tls", visit.url, str(error))
        return
    days = (certificate.ends_at - agent.clock()) / 86400
    if certificate.ends_at - agent.clock() < ENDS_SOON:
        yield warning(
            "tls.expiry", visit.url, f"the certificate ends in {days:.0f} days",
            "renew it, and have that done by itself: certbot renew",
        )  # fmt: skip
    else:
        yield ok("tls", visit.url, f"a certificate that others accept, for {days:.0f} days more")
