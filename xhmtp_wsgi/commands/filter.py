"""xhmtp filter list|add|remove|test, and xhmtp quarantine list|release|drop."""

from collections.abc import Mapping

import click

from xhmtp_wsgi import group_register
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.wording import date, subject, table
from xhmtp_wsgi.errors import Malformed, MalformedAddress, Misdirected, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import filters, inbox
from xhmtp_wsgi.recipient.filters import Action, Subject
from xhmtp_wsgi.recipient.notice_text import fields_of

ACTIONS = click.Choice([str(action) for action in Action])


@click.group("filter")
def filter_group() -> None:
    """Whom a domain and its users let in; OWNER is a domain or an address."""


@filter_group.command("list")
@click.argument("owner")
@click.pass_context
def filter_list(context: click.Context, owner: str) -> None:
    """List the rules, in the order in which they are tried."""
    agent = open_agent(context.obj)
    name = _owner(agent, owner)
    found = filters.owned(agent.database, name)
    rows = [
        (str(rule.id), rule.action, rule.who, rule.header or "", rule.pattern or "")
        for rule in found
    ]
    for line in table(("NUMBER>", "ACTION", "WHO", "HEADER", "PATTERN"), rows):
        click.echo(line)
    click.echo("whatever meets no rule is accepted")


@filter_group.command("add")
@click.argument("owner")
@click.argument("action", type=ACTIONS)
@click.argument("who")
@click.option("--header", help="Only where this header field ...")
@click.option("--pattern", help="... is like this: * stands for anything.")
@click.option("--first", is_flag=True, help="Before the owner's other rules.")
@click.pass_context
def filter_add(
    context: click.Context,
    owner: str,
    action: str,
    who: str,
    header: str | None,
    pattern: str | None,
    first: bool,
) -> None:
    """Add a rule. WHO: alice@A, *@A, *.A (all below A), anonymous, unsigned, or *."""
    agent = open_agent(context.obj)
    name = _owner(agent, owner)
    rule = filters.add(agent.database, name, Action(action), who, header, pattern, first=first)
    click.echo(f"rule {rule.id} of {name}: {rule}")


@filter_group.command("remove")
@click.argument("owner")
@click.argument("number", type=int)
@click.pass_context
def filter_remove(context: click.Context, owner: str, number: int) -> None:
    """Remove a rule by its NUMBER."""
    agent = open_agent(context.obj)
    name = _owner(agent, owner)
    filters.remove(agent.database, name, number)
    click.echo(f"rule {number} of {name} is removed")


@filter_group.command("test")
@click.argument("address")
@click.option("--from", "author", help="Who writes; without it, nobody says.")
@click.option("--signed", is_flag=True, help="The notification is signed by his domain.")
@click.option("--header", multiple=True, help="A header field, as 'Subject: hello'.")
@click.pass_context
def filter_test(
    context: click.Context,
    address: str,
    author: str | None,
    signed: bool,
    header: tuple[str, ...],
) -> None:
    """Tell what would become of a notification for ADDRESS, and by which rule."""
    agent = open_agent(context.obj)
    endpoint = Endpoint.parse(address)
    _owner(agent, address)
    subject = Subject(
        author=None if author is None else Endpoint.parse(author),
        signed=signed,
        vouched=author is not None,
        headers=_headers(header),
    )
    action, rule = filters.decide(filters.rules_for(agent.database, endpoint), subject)
    why = f"rule {rule.id} of {rule.owner}: {rule}" if rule else "no rule matches"
    click.echo(f"{action}: {why}")


@click.group("quarantine")
def quarantine_group() -> None:
    """What a filter keeps out of a feed until its owner has seen to it."""


@quarantine_group.command("list")
@click.argument("address")
@click.pass_context
def quarantine_list(context: click.Context, address: str) -> None:
    """List what is kept out, newest first."""
    agent = open_agent(context.obj)
    endpoint = _user(agent, address)
    rows = []
    for notice in inbox.quarantined(agent.database, endpoint):
        fields = fields_of(notice)
        rows.append(
            (
                notice.identifier,
                date(notice.received_at),
                fields.get("from", "anonymous")[:40],
                subject(notice, fields),
            )
        )
    for line in table(("ID", "CAME", "FROM", "SUBJECT"), rows):
        click.echo(line)


@quarantine_group.command("release")
@click.argument("address")
@click.argument("identifier", metavar="ID")
@click.pass_context
def quarantine_release(context: click.Context, address: str, identifier: str) -> None:
    """Put one into the feed."""
    agent = open_agent(context.obj)
    inbox.release(agent.database, _user(agent, address), identifier, agent.clock())
    click.echo(f"{identifier} is in the feed")


@quarantine_group.command("drop")
@click.argument("address")
@click.argument("identifier", metavar="ID")
@click.pass_context
def quarantine_drop(context: click.Context, address: str, identifier: str) -> None:
    """Remove one for good."""
    agent = open_agent(context.obj)
    inbox.drop(agent.database, _user(agent, address), identifier, agent.clock())
    click.echo(f"{identifier} is removed")


def _owner(agent: Agent, owner: str) -> str:
    """A domain of ours, or an address of one: a user's, an alias', a group's."""
    if "@" in owner:
        return str(_known(agent, owner))
    if owner.lower() not in agent.settings.domains:
        raise Misdirected(f"this agent does not act for {owner[:100]}")
    return owner.lower()


def _user(agent: Agent, address: str) -> Endpoint:
    """Whose mailbox it is: a user's or a group's."""
    endpoint = _known(agent, address)
    if group_register.find(agent.database, endpoint) is None and not agent.accounts.find(endpoint):
        raise NotFound(f"{endpoint} has no mailbox here")
    return endpoint


def _known(agent: Agent, address: str) -> Endpoint:
    try:
        endpoint = Endpoint.parse(address).canonical
    except MalformedAddress as error:
        raise Malformed(str(error)) from None
    if not agent.accounts.acts_for(endpoint.domain) or agent.addressing.resolve(endpoint) is None:
        raise NotFound(f"{endpoint} is nobody here")
    return endpoint


def _headers(given: tuple[str, ...]) -> Mapping[str, str]:
    found = {}
    for line in given:
        name, colon, value = line.partition(":")
        if not colon:
            raise Malformed(f"{line[:100]!r} is not of the form 'Name: value'")
        found[name.strip().lower()] = value.strip()
    return found
