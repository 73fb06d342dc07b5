"""xhmtp check: is all as it must be, here or elsewhere? And xhmtp dns: what is to be published."""

import dataclasses
import ipaddress
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from xhmtp_wsgi import checks
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks import elsewhere
from xhmtp_wsgi.checks.finding import Finding, State, broken
from xhmtp_wsgi.commands import FAILED, open_agent
from xhmtp_wsgi.errors import Misdirected, SettingsError, XHMTPError
from xhmtp_wsgi.network import Network
from xhmtp_wsgi.published_records import ZoneRecord, is_published, records_of
from xhmtp_wsgi.settings import find_file

_EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_COLOURS = {State.BROKEN: "red", State.WARNING: "yellow", State.OK: "green", State.UNKNOWN: "cyan"}


@click.command("check")
@click.argument("domain", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_context
def check(context: click.Context, domain: str | None, as_json: bool) -> None:
    """Look at everything that can be wrong here; or at DOMAIN, as messages to it find it.

    Each line: what was looked at, how it is, and what to do. Exit 1 if something is broken.
    """
    found = _found(context.obj, domain)
    if as_json:
        shown = list(found)
        click.echo(json.dumps([dataclasses.asdict(one) for one in shown], indent=2))
    else:
        shown = list(_shown(found))
        click.echo(_summary(shown))
    if any(one.state is State.BROKEN for one in shown):
        context.exit(FAILED)


def _found(config: str | Agent | None, domain: str | None) -> Iterator[Finding]:
    try:
        agent = open_agent(config)
        file = None if isinstance(config, Agent) else Path(config or find_file(os.environ))
    except SettingsError as error:
        yield broken("settings", error.setting, str(error), "docs/settings.md tells of each")
        return
    if domain is not None and domain.lower() not in agent.settings.domains:
        yield from elsewhere.findings(agent, domain)
        return
    domains = list(agent.settings.domains) if domain is None else [domain.lower()]
    yield from checks.run(agent, own_network(agent), file, domains)


def own_network(agent: Agent) -> Network:
    """One that may connect to our own hosts, wherever they are: the operator asks for that."""
    return Network(
        agent.discovery, allow_networks=_EVERYWHERE, ports_allowed=range(1, 65536),
        monotonic=agent.monotonic,
    )  # fmt: skip


def _shown(found: Iterable[Finding]) -> Iterator[Finding]:
    """Each as soon as it is found."""
    for one in found:
        state = click.style(f"{one.state.value:8}", fg=_COLOURS[one.state])
        click.echo(f"{state} {one.check:20} {one.where}: {one.found}")
        if one.remedy:
            click.echo(f"{'':8} {'':20} → {one.remedy}")
        yield one


def _summary(shown: list[Finding]) -> str:
    counts = {state: sum(one.state is state for one in shown) for state in State}
    if not counts[State.BROKEN] and not counts[State.WARNING]:
        return f"All is well: {counts[State.OK]} things were looked at."
    return (
        f"{counts[State.BROKEN]} broken, {counts[State.WARNING]} to be seen to, "
        f"{counts[State.OK]} well."
    )


@click.command("dns")
@click.argument("domain", required=False)
@click.pass_context
def dns(context: click.Context, domain: str | None) -> None:
    """Print the records to publish, as lines for the zone file; those that are there say so."""
    agent = open_agent(context.obj)
    if domain is not None and domain.lower() not in agent.settings.domains:
        raise Misdirected(f"this agent does not act for {domain}")
    for name in [domain.lower()] if domain else agent.settings.domains:
        click.echo(f"; {name}")
        for record in records_of(agent, name):
            click.echo(f"{record}  ; {_published(agent, record)}")


def _published(agent: Agent, record: ZoneRecord) -> str:
    try:
        return "published" if is_published(agent, record) else "to be published"
    except XHMTPError as error:
        return f"not known: {error}"
