"""xhmtp fetch: brings new messages into a Maildir, for mutt, notmuch or Thunderbird; for cron.

Silent when all is well, but at a terminal. A message that is not to be had is told of once, and
tried again at the next run. Sealed messages are opened where a key is given; else each is brought
as it is, with the age file inside, for `xhmtp unseal` or `age -d`.
"""

import json
import os
import sys
from pathlib import Path

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.identity_files import IdentityFiles, identity_files, identity_option
from xhmtp_wsgi.commands.opened_messages import (
    is_sealed_message,
    open_message,
    still_sealed,
    unsealed,
)
from xhmtp_wsgi.commands.own_mailbox import owner_of
from xhmtp_wsgi.maildir.fetching import Event, Wish
from xhmtp_wsgi.maildir.fetching import fetch as fetch_into
from xhmtp_wsgi.maildir.files import InUse
from xhmtp_wsgi.maildir.state import Body
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.recipient.reading import ReadMessage
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice


@click.command("fetch")
@click.argument("address")
@click.option("--maildir", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The Maildir; made where there is none.")  # fmt: skip
@click.option("--headers-only", is_flag=True,
              help="Fetch nothing: each message as its header, and where its body is.")  # fmt: skip
@click.option("--external-body", is_flag=True,
              help="What is not to be had comes as its header until it is.")  # fmt: skip
@identity_option
@click.option("--verbose", "-v", is_flag=True, help="Tell of each message.")
@click.option("--json", "as_json", is_flag=True, help="Tell of each as JSON, one object a line.")
@click.pass_context
def fetch(
    context: click.Context,
    address: str,
    maildir: Path,
    headers_only: bool,
    external_body: bool,
    identity: tuple[Path, ...],
    verbose: bool,
    as_json: bool,
) -> None:
    """Bring what is new in the mailbox of ADDRESS into a Maildir, once each.

    What is read or starred on one side since the last run becomes so on the other; what is deleted
    stays on the other. A body that is not there is message/external-body (RFC 2017). What was
    sealed and opened with --identity says so in XHMTP-Check.
    """
    agent = open_agent(context.obj)
    owner = owner_of(agent, address)
    files = identity_files(identity, os.environ)
    wish = Wish(headers_only=headers_only, stand_ins=external_body)
    brought = missing = 0
    try:
        for event in fetch_into(
            agent, owner, maildir, lambda notice: _opened(agent, owner, notice, files), wish
        ):
            brought += not event.reason
            missing += bool(event.reason)
            if as_json:
                click.echo(_as_json(event))
            elif verbose or (event.reason and event.is_news):
                click.echo(_in_words(event), err=bool(event.reason))
    except InUse as error:
        # cron has started a second one: the first does the work of both.
        if verbose or sys.stdout.isatty():
            click.echo(str(error), err=True)
        return
    if verbose or (sys.stdout.isatty() and not as_json):
        click.echo(f"{brought} new, {missing} not to be had")


def _opened(agent: Agent, owner: Endpoint, notice: Notice, files: IdentityFiles) -> ReadMessage:
    """The message as it is to be in the Maildir."""
    message = open_message(agent, owner, notice)
    if not is_sealed_message(notice, message):
        return message
    if not files:
        return still_sealed(notice, message)
    return unsealed(agent, owner, notice, message, files.identities())


def _in_words(event: Event) -> str:
    fields = fields_of(event.notice)
    nothing = "(sealed)" if is_sealed_notice(event.notice) else "(no subject)"
    author, subject = fields.get("from", "anonymous"), fields.get("subject", nothing)
    told = f"message {event.notice.position} from {author[:60]}, {subject[:60]!r}"
    if not event.reason:
        return told if event.body is Body.WHOLE else f"{told}: its header"
    return f"{told} is not to be had: {event.reason}; it is tried again"


def _as_json(event: Event) -> str:
    fields = fields_of(event.notice)
    return json.dumps(
        {
            "number": event.notice.position,
            "id": event.notice.identifier,
            "from": fields.get("from"),
            "subject": fields.get("subject"),
            "brought": str(event.body),
            "reason": event.reason or None,
        },
        ensure_ascii=False,
    )
