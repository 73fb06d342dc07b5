"""xhmtp withdraw: takes messages back that have been sent."""

import json
from collections.abc import Iterator

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.wording import date
from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.fetch import described
from xhmtp_wsgi.sender.outbox import StoredMessage


@click.command("withdraw")
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Tell of it as JSON, one object a line.")
@click.pass_context
def withdraw(
    context: click.Context, identifiers: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """Take back the messages ID: whoever asks for one from now on is told that it is withdrawn.

    It is told who had fetched it before: his copy cannot be taken back.
    """
    agent = open_agent(context.obj)
    found = [_message(agent, identifier) for identifier in identifiers]
    if not yes:
        named = ", ".join(message.identifier for message in found)
        click.confirm(f"Withdraw {named} for good?", abort=True)
    for message in found:
        outbox.withdraw(agent.database, message.identifier, agent.clock())
        for line in _in_words(agent, message) if not as_json else _as_json(agent, message):
            click.echo(line)


def _message(agent: Agent, identifier: str) -> StoredMessage:
    message = outbox.find(agent.database, identifier)
    if message is None:
        raise NotFound(f"there is no message {identifier}")
    return message


def _in_words(agent: Agent, message: StoredMessage) -> Iterator[str]:
    if message.withdrawn_at is not None:
        yield f"{message.identifier} was withdrawn {date(message.withdrawn_at)}"
        return
    yield f"{message.identifier} is withdrawn"
    for one in outbox.statuses(agent.database, message.identifier):
        if one.fetched_at is not None:
            yield f"{one.recipient} had fetched it {date(one.fetched_at)}"


def _as_json(agent: Agent, message: StoredMessage) -> Iterator[str]:
    yield json.dumps(described(agent, _message(agent, message.identifier)), ensure_ascii=False)
