"""xhmtp inbox: what is in a mailbox, with what was checked of it and what its owner did with it."""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.own_mailbox import owner_of
from xhmtp_wsgi.commands.wording import date, subject, table
from xhmtp_wsgi.protocol.conversation import identifiers
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.mailbox import INBOX, Wanted
from xhmtp_wsgi.recipient.notice_text import fields_of

AT_ONCE = 1000  # notices that are read at once


@click.command("inbox")
@click.argument("address")
@click.option("--folder", default=INBOX, show_default=True, help="What is in this folder.")
@click.option("--all", "everywhere", is_flag=True, help="In every folder but the trash.")
@click.option("--unseen", is_flag=True, help="Only what has not been read.")
@click.option("--starred", is_flag=True, help="Only what has a star.")
@click.option("--folders", is_flag=True, help="List the folders in place of messages.")
@click.option("--limit", default=50, show_default=True, help="Messages at the most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the URL.")
@click.pass_context
def inbox(
    context: click.Context,
    address: str,
    folder: str,
    everywhere: bool,
    unseen: bool,
    starred: bool,
    folders: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List what is in the mailbox of ADDRESS, newest first; at a terminal what is new is bold."""
    agent = open_agent(context.obj)
    owner = owner_of(agent, address)
    if folders:
        lines = _folders(agent, owner, as_json)
    else:
        wanted = Wanted(None if everywhere else folder, unseen=unseen, starred=starred)
        found = _listed(agent, owner, wanted, limit)
        lines = map(_as_json, found) if as_json else _in_words(list(found))
    for line in lines:
        click.echo(line)


def marks_of(notice: Notice) -> str:
    """What its owner did with it, in words; nothing for what is new."""
    marks = (("seen", notice.seen_at), ("starred", notice.starred_at))
    return ", ".join(name for name, moment in marks if moment is not None)


def described(notice: Notice) -> dict[str, object]:
    """A notice as JSON has it."""
    fields = fields_of(notice)
    return {
        "number": notice.position,
        "id": notice.identifier,
        "received": date(notice.received_at),
        "folder": notice.folder,
        "seen": notice.seen_at is not None,
        "starred": notice.starred_at is not None,
        "from": fields.get("from"),
        "to": fields.get("to"),
        "subject": fields.get("subject"),
        "message-id": next(iter(identifiers(fields.get("message-id", ""))), None),
        "conversation": notice.thread,
        "size": notice.size,
        "url": notice.url,
        "checks": {
            check.name: {"result": check.result, "reason": check.reason} for check in notice.checks
        },
    }


def _listed(agent: Agent, owner: Endpoint, wanted: Wanted, limit: int) -> Iterator[Notice]:
    before, left = None, limit
    while left > 0:
        found = mailbox.listed(
            agent.database, owner, wanted, limit=min(left, AT_ONCE), before=before
        )
        if not found:
            return
        yield from found
        before, left = found[-1].position, left - len(found)


def _as_json(notice: Notice) -> str:
    return json.dumps(described(notice), ensure_ascii=False)


def _in_words(found: Sequence[Notice]) -> Iterator[str]:
    titles = ["NUMBER>", "CAME", "FROM", "SUBJECT", "CHECKS"]
    marked = any(marks_of(notice) for notice in found)
    rows = []
    for notice in found:
        fields = fields_of(notice)
        row = [
            str(notice.position),
            date(notice.received_at),
            fields.get("from", "anonymous")[:40],
            subject(notice, fields),
            ", ".join(f"{check.name} {check.result}" for check in notice.checks),
        ]
        rows.append([*row, marks_of(notice)] if marked else row)
    lines = table([*titles, "MARKS"] if marked else titles, rows)
    bold = chain([False], (sys.stdout.isatty() and one.seen_at is None for one in found))
    for line, is_new in zip(lines, bold, strict=True):
        yield click.style(line, bold=True) if is_new else line


def _folders(agent: Agent, owner: Endpoint, as_json: bool) -> Iterator[str]:
    found = mailbox.folders(agent.database, owner)
    if as_json:
        for folder in found:
            yield json.dumps({"folder": folder.name, "unseen": folder.unseen}, ensure_ascii=False)
        return
    rows = [(folder.name, _counted(folder.unseen)) for folder in found]
    yield from table(("FOLDER", "UNSEEN>"), rows)


def _counted(unseen: int) -> str:
    return f"{unseen}+" if unseen >= mailbox.COUNTED else str(unseen)
