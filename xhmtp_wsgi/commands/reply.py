"""xhmtp reply: answers a message, its author or everybody, in an editor or from standard input."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.opening import open_message
from xhmtp_wsgi.commands.own_mailbox import message_of, owner_of
from xhmtp_wsgi.commands.send import attachments, existing_file, hand_in_new, tell
from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.protocol.composing import header_fields, reply_to
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.inbox import Notice


@click.command("reply")
@click.argument("address")
@click.argument("which", metavar="NUMBER")
@click.option("--all", "everybody", is_flag=True, help="To all who got it.")
@click.option("--quote/--no-quote", default=None,
              help="Quote it below; by default in the editor.")  # fmt: skip
@click.option("--attach", multiple=True, type=existing_file, metavar="FILE", help="Attach FILE.")
@click.option("--editor/--no-editor", default=None,
              help="Write it in $EDITOR; by default where a terminal is.")  # fmt: skip
@click.option("--sign", type=click.File("rb"), help="Sign with this private SSH key.")
@click.option("--json", "as_json", is_flag=True, help="Tell of it as JSON.")
@click.pass_context
def reply(
    context: click.Context,
    address: str,
    which: str,
    everybody: bool,
    quote: bool | None,
    attach: tuple[Path, ...],
    editor: bool | None,
    sign: BinaryIO | None,
    as_json: bool,
) -> None:
    """Answer message NUMBER of ADDRESS's mailbox; without an editor the text is standard input.

    NUMBER as `xhmtp inbox` lists it, or an ID. Prints the ID of what was sent.
    """
    agent = open_agent(context.obj)
    owner = owner_of(agent, address)
    notice = message_of(agent, owner, which)
    editor = sys.stdin.isatty() if editor is None else editor
    quoted = editor if quote is None else quote
    text = _text_of(agent, owner, notice) if quoted else ""
    # Whom it goes to is what the notification said, which was checked; as it was listed.
    new = reply_to(header_fields(notice.headers), text, str(owner), everybody=everybody)
    submission = hand_in_new(agent, replace(new, attachments=attachments(attach)), editor, sign)
    mailbox.set_seen(agent.database, owner, [notice.identifier], agent.clock(), seen=True)
    tell(agent, submission, as_json)


def _text_of(agent: Agent, owner: Endpoint, notice: Notice) -> str:
    """What it says; nothing where it is not to be had, as that is no reason not to answer."""
    # Imported late: it brings the pages.
    from xhmtp_wsgi.commands.message_text import plain_text

    try:
        return plain_text(open_message(agent, owner, notice).octets)
    except XHMTPError as error:
        click.echo(f"it cannot be quoted: {error}", err=True)
        return ""
