"""xhmtp: what a site's owner does at the terminal. `xhmtp COMMAND --help` tells of each.

Exit 0 when done, 1 when it could not be done, 2 when it was asked for wrongly; an error is one
line on standard error.
"""

import sys
from pathlib import Path

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.alias import alias_group
from xhmtp_wsgi.commands.check import check, dns
from xhmtp_wsgi.commands.export import export_command
from xhmtp_wsgi.commands.fetch import fetch
from xhmtp_wsgi.commands.filter import filter_group, quarantine_group
from xhmtp_wsgi.commands.group import group_group
from xhmtp_wsgi.commands.import_ import import_command
from xhmtp_wsgi.commands.inbox import inbox as inbox_command
from xhmtp_wsgi.commands.initialise import initialise
from xhmtp_wsgi.commands.key import key_group
from xhmtp_wsgi.commands.queue import queue_group
from xhmtp_wsgi.commands.read import read
from xhmtp_wsgi.commands.removal import remove_account
from xhmtp_wsgi.commands.reply import reply
from xhmtp_wsgi.commands.seal import seal
from xhmtp_wsgi.commands.search import search
from xhmtp_wsgi.commands.send import send
from xhmtp_wsgi.commands.status import status
from xhmtp_wsgi.commands.unseal import unseal
from xhmtp_wsgi.commands.withdraw import withdraw
from xhmtp_wsgi.commands.wording import date
from xhmtp_wsgi.errors import SettingsError, XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import indexing as received
from xhmtp_wsgi.sender import indexing as sent


class OneLineErrors(click.Group):
    """Shows our errors as one line."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except SettingsError as error:
            raise click.UsageError(str(error)) from None
        except XHMTPError as error:
            raise click.ClickException(str(error)) from None


def _address(text: str) -> Endpoint:
    """An endpoint's address as an argument."""
    try:
        return Endpoint.parse(text)
    except XHMTPError as error:
        raise click.BadParameter(str(error)) from None


@click.group(cls=OneLineErrors)
@click.option("--config", type=click.Path(), help="The settings' file.")
@click.version_option(package_name="xhmtp_wsgi")
@click.pass_context
def main(context: click.Context, config: str | None) -> None:
    """Private messages from your domain to any other."""
    context.obj = config


def _agent(context: click.Context) -> Agent:
    return open_agent(context.obj)


@main.command()
@click.argument("domain")
@click.option("--agent", help="Where the agent is reached, as http(s)://HOST[:PORT].")
@click.option("--prefix", help="The path below which it answers, such as xhmtp.")
@click.option("--database", help="Any SQLAlchemy URL; by default an SQLite file.")
@click.option("--resolver", help="The name server to ask, as 127.0.0.1:5353.")
@click.pass_context
def init(
    context: click.Context,
    domain: str,
    agent: str | None,
    prefix: str | None,
    database: str | None,
    resolver: str | None,
) -> None:
    """Write the settings for DOMAIN, create the database and a key, and say what to do next."""
    path = Path(context.obj or "xhmtp.toml")
    for line in initialise(
        path, domain, agent=agent, prefix=prefix, database=database, resolver=resolver
    ):
        click.echo(line)


@main.group()
def user() -> None:
    """The endpoints that this agent acts for."""


@user.command("add")
@click.argument("address", type=_address)
@click.argument("password_from", required=False, type=click.Choice(["-"]))
@click.pass_context
def user_add(context: click.Context, address: Endpoint, password_from: str | None) -> None:
    """Make an account; the password is asked for, or one line on standard input with -."""
    _agent(context).accounts.add(address, _password(password_from))
    click.echo(f"{address} has an account")


@user.command("list")
@click.pass_context
def user_list(context: click.Context) -> None:
    """List the accounts."""
    for endpoint in _agent(context).accounts.all():
        click.echo(str(endpoint))


@user.command("password")
@click.argument("address", type=_address)
@click.argument("password_from", required=False, type=click.Choice(["-"]))
@click.pass_context
def user_password(context: click.Context, address: Endpoint, password_from: str | None) -> None:
    """Set a new password; asked for, or one line on standard input with -."""
    _agent(context).accounts.set_password(address, _password(password_from))
    click.echo(f"{address} has a new password")


@user.command("remove")
@click.argument("address", type=_address)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def user_remove(context: click.Context, address: Endpoint, yes: bool) -> None:
    """Remove an account with its tokens, its keys and its inbox."""
    agent = _agent(context)
    if not yes:
        click.confirm(f"Remove {address} with all its tokens, keys and its inbox?", abort=True)
    remove_account(agent, address)
    click.echo(f"{address} is removed")


@main.group()
def token() -> None:
    """Tokens for feed readers: each can read its owner's feed, and nothing else."""


@token.command("add")
@click.argument("address", type=_address)
@click.option("--label", default="feed reader", help="What it is for.")
@click.pass_context
def token_add(context: click.Context, address: Endpoint, label: str) -> None:
    """Make a token and print it; it cannot be shown again."""
    click.echo(_agent(context).accounts.add_token(address, label))


@token.command("list")
@click.argument("address", type=_address)
@click.pass_context
def token_list(context: click.Context, address: Endpoint) -> None:
    """List an endpoint's tokens: number, when made, what for."""
    for one in _agent(context).accounts.tokens(address):
        click.echo(f"{one.id}\t{date(one.created_at)}\t{one.label}")


@token.command("revoke")
@click.argument("address", type=_address)
@click.argument("number", type=int)
@click.pass_context
def token_revoke(context: click.Context, address: Endpoint, number: int) -> None:
    """End a token at once; NUMBER as in `xhmtp token list`."""
    _agent(context).accounts.revoke_token(address, number)
    click.echo(f"token {number} of {address} is revoked")


main.add_command(alias_group)
main.add_command(check)
main.add_command(dns)
main.add_command(export_command)
main.add_command(fetch)
main.add_command(filter_group)
main.add_command(group_group)
main.add_command(import_command)
main.add_command(quarantine_group)
main.add_command(inbox_command)
main.add_command(key_group)
main.add_command(read)
main.add_command(reply)
main.add_command(queue_group)
main.add_command(seal)
main.add_command(search)
main.add_command(send)
main.add_command(status)
main.add_command(unseal)
main.add_command(withdraw)


@main.group("db")
def database_group() -> None:
    """The database."""


@database_group.command("upgrade")
@click.pass_context
def database_upgrade(context: click.Context) -> None:
    """Bring the tables up to date."""
    database = _agent(context).database
    database.upgrade()
    received.index_missing(database)
    sent.index_missing(database)
    click.echo("the tables are up to date")


def _password(source: str | None) -> str:
    if source == "-":
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask for the password; write - and give it as input")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
