"""xhmtp group add|list|remove|members|join|leave|set: addresses behind which others stand."""

import sys

import click

from xhmtp_wsgi import group_register
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.wording import date, table
from xhmtp_wsgi.errors import Malformed, MalformedAddress
from xhmtp_wsgi.group_register import Group, Joining, Writers
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox

_title = click.option("--title", help="What people call it.")
_writers = click.option(
    "--writers", type=click.Choice([str(one) for one in Writers]), help="Who may write to it."
)
_joining = click.option(
    "--joining",
    type=click.Choice([str(one) for one in Joining]),
    help="Who may let somebody in: anybody himself, or owners alone.",
)


@click.group("group")
def group_group() -> None:
    """Groups: what is written to one goes to everybody in it."""


@group_group.command("add")
@click.argument("address")
@click.option("--owner", multiple=True, help="Who owns it, and is in it; may be repeated.")
@_title
@_writers
@_joining
@click.pass_context
def group_add(
    context: click.Context,
    address: str,
    owner: tuple[str, ...],
    title: str | None,
    writers: str | None,
    joining: str | None,
) -> None:
    """Make a group; by default its members may write, and owners let people in."""
    agent = open_agent(context.obj)
    endpoint = _endpoint(address)
    owners = [_endpoint(one) for one in owner]
    agent.addressing.require_free(endpoint)
    made = group_register.add(
        agent.database,
        endpoint,
        agent.clock(),
        title=title or "",
        writers=Writers(writers or Writers.MEMBERS),
        joining=Joining(joining or Joining.OWNERS),
    )
    most = agent.settings.max_recipients
    group_register.join(agent.database, made, owners, agent.clock(), most=most, is_owner=True)
    click.echo(_described(made))


@group_group.command("list")
@click.pass_context
def group_list(context: click.Context) -> None:
    """List the groups."""
    agent = open_agent(context.obj)
    rows = [
        (
            str(group.endpoint),
            str(len(group_register.members_of(agent.database, group))),
            str(group.writers),
            str(group.joining),
            group.title,
        )
        for group in group_register.all_groups(agent.database)
    ]
    for line in table(("ADDRESS", "MEMBERS>", "WRITERS", "JOINING", "TITLE"), rows):
        click.echo(line)


@group_group.command("remove")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def group_remove(context: click.Context, address: str, yes: bool) -> None:
    """Remove a group; what it has passed on can be read until that expires."""
    agent = open_agent(context.obj)
    group = group_register.the_group(agent.database, _endpoint(address))
    if not yes:
        click.confirm(f"Remove {group.endpoint} and all who are in it?", abort=True)
    group_register.remove(agent.database, group.endpoint)
    inbox.forget(agent.database, group.endpoint)
    click.echo(f"{group.endpoint} is removed")


@group_group.command("members")
@click.argument("address")
@click.pass_context
def group_members(context: click.Context, address: str) -> None:
    """List who is in a group."""
    agent = open_agent(context.obj)
    group = group_register.the_group(agent.database, _endpoint(address))
    rows = [
        (str(one.endpoint), "owner" if one.is_owner else "member", date(one.joined_at))
        for one in group_register.members_of(agent.database, group)
    ]
    for line in table(("ADDRESS", "AS", "SINCE"), rows):
        click.echo(line)


@group_group.command("join")
@click.argument("address")
@click.argument("member", nargs=-1, required=True)
@click.option("--owner", is_flag=True, help="As owners, also those who are in it already.")
@click.pass_context
def group_join(context: click.Context, address: str, member: tuple[str, ...], owner: bool) -> None:
    """Take each MEMBER into a group; with - they are read from standard input, one a line."""
    agent = open_agent(context.obj)
    group = group_register.the_group(agent.database, _endpoint(address))
    came = group_register.join(
        agent.database,
        group,
        _members(member),
        agent.clock(),
        most=agent.settings.max_recipients,
        is_owner=owner,
    )
    click.echo(f"{came} joined {group.endpoint}")


@group_group.command("leave")
@click.argument("address")
@click.argument("member", nargs=-1, required=True)
@click.pass_context
def group_leave(context: click.Context, address: str, member: tuple[str, ...]) -> None:
    """Take each MEMBER out of a group; with - they are read from standard input, one a line."""
    agent = open_agent(context.obj)
    group = group_register.the_group(agent.database, _endpoint(address))
    went = group_register.leave(agent.database, group, _members(member))
    click.echo(f"{went} left {group.endpoint}")


@group_group.command("set")
@click.argument("address")
@_title
@_writers
@_joining
@click.pass_context
def group_set(
    context: click.Context,
    address: str,
    title: str | None,
    writers: str | None,
    joining: str | None,
) -> None:
    """Change what a group is called, who may write to it, and who may let people in."""
    agent = open_agent(context.obj)
    changed = group_register.change(
        agent.database,
        _endpoint(address),
        title=title,
        writers=None if writers is None else Writers(writers),
        joining=None if joining is None else Joining(joining),
    )
    click.echo(_described(changed))


def _described(group: Group) -> str:
    write = {"members": "its members", "owners": "its owners", "anybody": "anybody"}[group.writers]
    join = {"anybody": "anybody may join", "owners": "its owners let people in"}[group.joining]
    return f"{group.endpoint} is {group.title}: {write} may write, {join}"


def _members(given: tuple[str, ...]) -> list[Endpoint]:
    lines = [line.strip() for line in sys.stdin] if given == ("-",) else given
    return [_endpoint(line) for line in lines if line]


def _endpoint(address: str) -> Endpoint:
    try:
        return Endpoint.parse(address)
    except MalformedAddress as error:
        raise Malformed(f"{address[:100]!r}: {error}") from None
