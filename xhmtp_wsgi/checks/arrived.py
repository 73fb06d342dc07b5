"""How a request arrived: what the agent's self-test reports, and what that means."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks.finding import Finding, broken, ok, warning
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.published_records import needed_keys
from xhmtp_wsgi.self_test import settings_hashes

CLAIMED = "192.0.2.1"
"""The address that the check claims in X-Forwarded-For: it is nobody's (RFC 5737)."""
CLOCKS_APART = 30.0  # seconds; signatures allow ten times as many


def findings(
    agent: Agent,
    report: Mapping[str, Any],
    target: AgentTarget,
    invitation: str,
) -> Iterator[Finding]:
    """What is to be read from one report."""
    where = target.host
    yield _authorization(where, report)
    own = _addresses(agent, where)
    yield _client_address(where, report, own)
    yield from _origin(agent, where, report, own)
    yield from _spool(where, report)
    yield _interpreter(where, report)
    yield from _process(where, report)
    yield from _settings(agent, where, report, invitation)
    yield _clock(agent, where, report)


def by_server(report: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """The words for the server that a report is from; those under "" for any other."""
    if report["application-group"] is not None:
        return words.get("mod_wsgi", words[""])
    server = str(report["server"]).lower()
    return next((words[name] for name in words if name and name in server), words[""])


def _authorization(where: str, report: Mapping[str, Any]) -> Finding:
    if report["authorization"] == "arrived":
        return ok("agent.authorization", where, "the Authorization header arrives")
    lost = report["authorization"] == "missing"
    return broken(
        "agent.authorization",
        where,
        f"the Authorization header {'does not arrive' if lost else 'arrives changed'}: nobody can "
        "log in, and no message can be fetched",
        by_server(report, {
            "mod_wsgi": "WSGIPassAuthorization On",
            "": "let the web server and its proxies pass Authorization on as it comes",
        }),
    )  # fmt: skip


def _client_address(where: str, report: Mapping[str, Any], own: frozenset[str]) -> Finding:
    """The address that we claimed must not count, nor a proxy's be taken for everybody's."""
    remote, forwarded = report["remote-address"], report["forwarded-for"]
    client = report["client-address"]
    check = "agent.client-address"
    if client == CLAIMED:
        return broken(
            check,
            where,
            "whoever connects can claim any address: X-Forwarded-For is passed on as it comes, "
            f"and {remote} is a trusted proxy",
            "have the proxy set the header itself: nginx's proxy_set_header X-Forwarded-For "
            "$remote_addr; and trust none that is not yours",
        )
    believed = forwarded is not None and client != remote
    if believed:
        return ok(check, where, f"arrives through a proxy: {client}")
    if forwarded not in (None, CLAIMED):
        return broken(
            check,
            where,
            f"requests come through a proxy, and all seem to come from {remote or 'nowhere'}: "
            "the origin of a notification cannot be checked",
            f'trusted_proxies = ["{remote or "unix"}"]',
        )
    if _hides_a_proxy(remote, own):
        return broken(
            check,
            where,
            f"all requests seem to come from {remote or 'nowhere'}: a proxy does not tell whom "
            "it got them from",
            "have the proxy set X-Forwarded-For: nginx's proxy_set_header X-Forwarded-For "
            f'$remote_addr; and trusted_proxies = ["{remote}"]',
        )
    return ok(check, where, f"arrives: {client}")


def _hides_a_proxy(remote: str, own: frozenset[str]) -> bool:
    """Does it come from inside, where we came from outside or from an address of the host?"""
    try:
        address = ipaddress.ip_address(remote)
    except ValueError:
        return True
    if remote in own:
        return False
    public = any(ipaddress.ip_address(one).is_global for one in own)
    return address.is_loopback or (address.is_private and public)


def _addresses(agent: Agent, host: str) -> frozenset[str]:
    try:
        return frozenset(str(address) for address in agent.discovery.addresses(host))
    except XHMTPError:
        return frozenset()


def _origin(
    agent: Agent, where: str, report: Mapping[str, Any], own: frozenset[str]
) -> Iterator[Finding]:
    """Would our own notifications pass the origin check of others?"""
    try:
        signs = any(needed_keys(agent, name) for name in agent.settings.domains)
    except XHMTPError:
        return
    client = report["client-address"]
    if client is not None and client not in own and client != CLAIMED and not signs:
        yield warning(
            "origin",
            where,
            f"this machine's requests come from {client}, which is no address of {where}: agents "
            "that check the origin refuse its notifications",
            f"run the notifier on {where}, or sign: xhmtp key add DOMAIN",
        )


def _spool(where: str, report: Mapping[str, Any]) -> Iterator[Finding]:
    if report["spool-problem"]:
        yield broken(
            "files.spool",
            where,
            f"the web server cannot keep an upload: {report['spool-problem']}",
            f"let its user ({report['user']}) write there, or name another in the setting spool",
        )


def _interpreter(where: str, report: Mapping[str, Any]) -> Finding:
    check = "agent.interpreter"
    remedy = by_server(report, {
        "mod_wsgi": "WSGIApplicationGroup %{GLOBAL}, and a daemon process of its own for the site",
        "": "install cryptography for the Python that the web server runs, and restart it",
    })  # fmt: skip
    if report["signatures"]:
        return broken(
            check,
            where,
            f"no signature can be verified there: {report['signatures'][:200]}",
            remedy,
        )
    if report["application-group"]:
        return warning(
            check,
            where,
            "it runs in a sub-interpreter: where a second site of this server uses cryptography, "
            "one of them cannot load it",
            remedy,
        )
    return ok(
        check, where, f"Python {report['python']}, as {report['user']}; can verify signatures"
    )


def _process(where: str, report: Mapping[str, Any]) -> Iterator[Finding]:
    if report["opened-before-fork"]:
        yield warning(
            "agent.fork",
            where,
            "the database was in use before the worker was forked; it was opened anew",
            "let the site do nothing with XHMTP while it is imported; or gunicorn without "
            "--preload, uWSGI with lazy-apps = true",
        )
    else:
        yield ok("agent.fork", where, "the database was opened after the fork")
    if report["version"] != __version__:
        yield warning(
            "agent.version",
            where,
            f"runs xhmtp_wsgi {report['version']}, this command is of {__version__}",
            "restart the web server",
        )


def _settings(
    agent: Agent, where: str, report: Mapping[str, Any], invitation: str
) -> Iterator[Finding]:
    ours = settings_hashes(agent.settings, invitation)
    differing = sorted(name for name in ours if report["settings"].get(name) != ours[name])
    if differing:
        yield warning(
            "agent.settings",
            where,
            f"the web server has other settings than this command: {', '.join(differing)}",
            "restart it; give both the same file (XHMTP_CONFIG, --config) and environment",
        )
    else:
        yield ok("agent.settings", where, "the settings are those of this command")


def _clock(agent: Agent, where: str, report: Mapping[str, Any]) -> Finding:
    apart = float(report["time"]) - agent.clock()
    if abs(apart) > CLOCKS_APART:
        return broken(
            "clock",
            where,
            f"its clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this one: "
            "signatures count for 300 s",
            "set both by NTP: chrony or systemd-timesyncd",
        )
    return ok("clock", where, "goes as this machine's does")
