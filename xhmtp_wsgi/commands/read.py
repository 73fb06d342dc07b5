"""xhmtp read: shows a message, fetched from its sender's agent, and tells what is known of it.

A sealed one is opened in memory: with its owner's own key, or with one that his agent holds and his
password opens.
"""

import json
import os
import sys
from pathlib import Path

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import FAILED, open_agent
from xhmtp_wsgi.commands.identity_files import (
    identity_files,
    identity_option,
)
from xhmtp_wsgi.commands.opened_messages import is_sealed_message, open_message, unsealed_by
from xhmtp_wsgi.commands.own_mailbox import message_of, owner_of
from xhmtp_wsgi.errors import MalformedMessage, Unprocessable
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.recipient import mailbox, reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.reading import ReadMessage
from xhmtp_wsgi.recipient.verdict import FAIL, Check


@click.command("read")
@click.argument("address")
@click.argument("which", metavar="NUMBER")
@click.option("--raw", is_flag=True, help="The message as it was sent, octet by octet.")
@click.option("--part", type=int, help="The octets of one part, by the number that is shown.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: header, checks, text, parts.")
@click.option("--leave-unseen", is_flag=True, help="Do not mark it as seen.")
@click.option("--trust-new-key", is_flag=True, help="Take the author's key of this message as his.")
@identity_option
@click.option("--sealed", "as_age_file", is_flag=True,
              help="The age file of a sealed message, as it came; `age -d` opens it.")  # fmt: skip
@click.pass_context
def read(
    context: click.Context,
    address: str,
    which: str,
    raw: bool,
    part: int | None,
    as_json: bool,
    leave_unseen: bool,
    trust_new_key: bool,
    identity: tuple[Path, ...],
    as_age_file: bool,
) -> None:
    """Show message NUMBER of ADDRESS's mailbox; what was checked goes to standard error.

    NUMBER as `xhmtp inbox` lists it, or an ID. It is fetched from its sender's agent, who notes
    that, unless a copy is kept here. A sealed one is opened with --identity, or with a key that
    his agent holds, for which his password is asked for. Exit 1 where a check failed.
    """
    agent = open_agent(context.obj)
    owner = owner_of(agent, address)
    notice = message_of(agent, owner, which)
    files = identity_files(identity, os.environ)
    message = open_message(agent, owner, notice)
    is_sealed = is_sealed_message(notice, message)
    if as_age_file:
        if not is_sealed:
            raise Unprocessable("the message is not sealed")
        raw = True
    elif is_sealed:
        message = unsealed_by(agent, owner, notice, message, files)
    if trust_new_key:
        message = _trusted(agent, owner, message)
    checks = (*notice.checks, *message.checks)
    if not as_json:
        for check in checks:
            click.echo(f"{check.name}: {check.result} ({check.reason})", err=True)
    if raw:
        sys.stdout.buffer.write(message.octets)
    else:
        _show(notice, message.octets, checks, part, as_json, is_sealed)
    if not leave_unseen:
        now = agent.clock()
        mailbox.set_seen(agent.database, owner, [notice.identifier], now, seen=True)
    if any(check.result == FAIL for check in message.checks):
        sys.exit(FAILED)


def _trusted(agent: Agent, owner: Endpoint, message: ReadMessage) -> ReadMessage:
    """Takes its author's key for his, and looks at the signature again."""
    reading.trust(agent, owner, message.octets)
    author = reading.check_author(agent, owner, message.octets)
    return ReadMessage(message.octets, (*message.checks[:-1], author))


def _show(
    notice: Notice,
    octets: bytes,
    checks: tuple[Check, ...],
    part: int | None,
    as_json: bool,
    is_sealed: bool,
) -> None:
    # Imported late: it brings the pages, and most commands need none of them.
    from xhmtp_wsgi.commands.message_text import (
        described_parts,
        part_octets,
        plain_text,
        shown,
    )

    if part is not None:
        for piece in part_octets(octets, part):
            sys.stdout.buffer.write(piece)
    elif not as_json:
        for text in shown(octets):
            click.echo(text)
    else:
        described = {
            "number": notice.position,
            "id": notice.identifier,
            "sealed": is_sealed,
            "header": _header(octets),
            "checks": {
                check.name: {"result": check.result, "reason": check.reason} for check in checks
            },
            "text": plain_text(octets),
            "parts": described_parts(octets),
        }
        click.echo(json.dumps(described, ensure_ascii=False))


def _header(octets: bytes) -> dict[str, str] | None:
    """The fields as text; None where a sender's agent has sent what is no header."""
    try:
        return {name: display(value) for name, value in header_fields(octets).items()}
    except MalformedMessage:
        return None
