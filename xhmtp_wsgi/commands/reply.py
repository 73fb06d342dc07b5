"""xhmtp reply: answers a message, its author or everybody, in an editor or from standard input."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.identity_files import IdentityFiles, identity_files, identity_option
from xhmtp_wsgi.commands.opened_messages import is_sealed_message, open_message, unsealed_by
from xhmtp_wsgi.commands.own_mailbox import message_of, owner_of
from xhmtp_wsgi.commands.sealing_options import sealing_options, wish_of
from xhmtp_wsgi.commands.send import Handing, attachments, existing_file, hand_in_new, tell
from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.protocol.composing import header_fields, reply_to
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice, true_fields
from xhmtp_wsgi.sender.sealing import Policy


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
@identity_option
@sealing_options
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
    identity: tuple[Path, ...],
    seal: str | None,
    show_subject: bool | None,
    accept_new_keys: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Answer message NUMBER of ADDRESS's mailbox; without an editor the text is standard input.

    NUMBER as `xhmtp inbox` lists it, or an ID. What answers a sealed message is sealed or not sent,
    if nothing else is said. Prints the ID of what was sent.
    """
    agent = open_agent(context.obj)
    owner = owner_of(agent, address)
    notice = message_of(agent, owner, which)
    is_sealed = is_sealed_notice(notice)
    editor = sys.stdin.isatty() if editor is None else editor
    quoted = editor if quote is None else quote
    told, text = header_fields(notice.headers), ""
    if quoted or is_sealed:
        files = identity_files(identity, os.environ)
        octets = _opened(agent, owner, notice, files)
        if is_sealed and octets:
            told = true_fields(notice, octets)
        text = _text_of(octets) if quoted else ""
    # Whom it goes to is what the notification said, which was checked; as it was listed.
    new = reply_to(told, text, str(owner), everybody=everybody)
    if is_sealed and seal is None:
        seal = Policy.ALWAYS
    handing = Handing(sign, wish_of(seal, show_subject, accept_new_keys), dry_run)
    submission = hand_in_new(agent, replace(new, attachments=attachments(attach)), editor, handing)
    if not dry_run:
        mailbox.set_seen(agent.database, owner, [notice.identifier], agent.clock(), seen=True)
    tell(agent, submission, as_json)


def _opened(agent: Agent, owner: Endpoint, notice: Notice, files: IdentityFiles) -> bytes:
    """The message; nothing where it is not to be had, as that is no reason not to answer."""
    try:
        message = open_message(agent, owner, notice)
        if is_sealed_message(notice, message):
            message = unsealed_by(agent, owner, notice, message, files)
    except XHMTPError as error:
        click.echo(f"it cannot be quoted: {error}", err=True)
        return b""
    return message.octets


def _text_of(octets: bytes) -> str:
    # Imported late: it brings the pages.
    from xhmtp_wsgi.commands.message_text import plain_text

    return plain_text(octets) if octets else ""
