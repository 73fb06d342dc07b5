"""xhmtp alias add|list|remove: addresses that lead to others."""

import click

from xhmtp_wsgi.addressing import Alias, Kind
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.wording import table
from xhmtp_wsgi.errors import Malformed, MalformedAddress
from xhmtp_wsgi.protocol.endpoint import Endpoint


@click.group("alias")
def alias_group() -> None:
    """Addresses that lead to others, here or at another agent."""


@alias_group.command("add")
@click.argument("address")
@click.argument("target")
@click.option("--send", is_flag=True, help="Whom it leads to may also write in its name.")
@click.pass_context
def alias_add(context: click.Context, address: str, target: str, send: bool) -> None:
    """Have ADDRESS lead to TARGET; *@DOMAIN stands for every name that the domain has not.

    TARGET may be of another agent's: senders are told then where the inbox is (308).
    """
    agent = open_agent(context.obj)
    made = agent.addressing.add(_endpoint(address), _endpoint(target), agent.clock(), may_send=send)
    click.echo(f"{made.address} leads to {made.target}: {_where(agent, made)}")
    if not made.is_catch_all and agent.accounts.find(made.address) is not None:
        click.echo(f"{made.address} keeps its account, and gets nothing new")


@alias_group.command("list")
@click.argument("domain", required=False)
@click.pass_context
def alias_list(context: click.Context, domain: str | None) -> None:
    """List the aliases, or those of DOMAIN, and where each leads in the end."""
    agent = open_agent(context.obj)
    rows = [
        (str(one.address), str(one.target), "yes" if one.may_send else "no", _where(agent, one))
        for one in agent.addressing.all()
        if domain is None or one.address.domain == domain.lower()
    ]
    for line in table(("ADDRESS", "TARGET", "SENDS", "LEADS TO"), rows):
        click.echo(line)


@alias_group.command("remove")
@click.argument("address")
@click.pass_context
def alias_remove(context: click.Context, address: str) -> None:
    """Remove the alias ADDRESS."""
    agent = open_agent(context.obj)
    endpoint = _endpoint(address)
    agent.addressing.remove(endpoint)
    click.echo(f"{endpoint.canonical} is removed")


def _where(agent: Agent, alias: Alias) -> str:
    found = agent.addressing.resolve(alias.target)
    if found is None:
        return "nobody"
    words = {Kind.MAILBOX: "mailbox", Kind.GROUP: "group", Kind.ELSEWHERE: "elsewhere (308)"}
    return f"{words[found.kind]} {found.endpoint}"


def _endpoint(address: str) -> Endpoint:
    try:
        return Endpoint.parse(address)
    except MalformedAddress as error:
        raise Malformed(str(error)) from None
