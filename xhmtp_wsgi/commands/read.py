"""xhmtp read: fetches a message from its sender's agent, and tells what is known of it."""

import sys

import click

from xhmtp_wsgi.commands import FAILED, open_agent
from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox, reading
from xhmtp_wsgi.recipient.verdict import FAIL


@click.command("read")
@click.argument("address")
@click.argument("number", type=int)
@click.option("--trust-new-key", is_flag=True, help="Take the author's key of this message as his.")
@click.pass_context
def read(context: click.Context, address: str, number: int, trust_new_key: bool) -> None:
    """Print message NUMBER of ADDRESS's inbox as it is; what was checked goes to standard error.

    NUMBER as `xhmtp inbox` lists it. Exit 1 where a check failed.
    """
    agent = open_agent(context.obj)
    owner = Endpoint.parse(address)
    found = inbox.page(agent.database, owner, newest=number, limit=1)
    if not found or found[0].position != number:
        raise NotFound(f"{owner} has no message {number}")
    message = reading.read(agent, owner, found[0])
    if trust_new_key:
        reading.trust(agent, owner, message.octets)
        message = reading.ReadMessage(
            message.octets,
            (message.checks[0], reading.check_author(agent, owner, message.octets)),
        )
    for check in (*found[0].checks, *message.checks):
        click.echo(f"{check.name}: {check.result} ({check.reason})", err=True)
    sys.stdout.buffer.write(message.octets)
    if any(check.result == FAIL for check in message.checks):
        sys.exit(FAILED)
