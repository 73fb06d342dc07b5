"""xhmtp send: hands in a message that is there, or one made of options, of a text, in an editor."""

import json
import mimetypes
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import FAILED, open_agent
from xhmtp_wsgi.commands.author_key import AuthorKey
from xhmtp_wsgi.commands.editing import edited
from xhmtp_wsgi.commands.own_mailbox import own_address
from xhmtp_wsgi.commands.sealing_options import sealing_options, told, wish_of, worth_telling
from xhmtp_wsgi.errors import MalformedMessage
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.composing import NewAttachment, NewMessage, compose
from xhmtp_wsgi.protocol.mailbox_list import typed_mailboxes
from xhmtp_wsgi.protocol.message import author_of, split_header
from xhmtp_wsgi.request_body import PIECE
from xhmtp_wsgi.sender.fetch import described
from xhmtp_wsgi.sender.injection import Submission, preview, submit
from xhmtp_wsgi.sender.sealed_contents import described_plan
from xhmtp_wsgi.sender.sealing import Plan, Wish

MOST_LOOKED_AT = 1 << 20  # octets in which the end of a header is looked for

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("send")
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--from", "sender", metavar="ADDRESS",
              help="Who sends; by default the message's From, or you.")  # fmt: skip
@click.option("--to", multiple=True, metavar="ADDRESS",
              help="A recipient; by default those of To, Cc and Bcc.")  # fmt: skip
@click.option("--cc", multiple=True, metavar="ADDRESS", help="Who gets a copy.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="Who gets a copy, unseen by others.")
@click.option("--subject", help="Makes a new message; its text is read from standard input.")
@click.option("--attach", multiple=True, type=existing_file, metavar="FILE",
              help="Attach FILE to a new message.")  # fmt: skip
@click.option("--editor/--no-editor", default=None,
              help="Write it in $EDITOR; by default where a terminal is.")  # fmt: skip
@click.option("--sign", type=click.File("rb"), help="Sign with this private SSH key.")
@sealing_options
@click.option("--json", "as_json", is_flag=True, help="Tell of it as JSON.")
@click.pass_context
def send(
    context: click.Context,
    file: BinaryIO | None,
    sender: str | None,
    to: tuple[str, ...],
    cc: tuple[str, ...],
    bcc: tuple[str, ...],
    subject: str | None,
    attach: tuple[Path, ...],
    editor: bool | None,
    sign: BinaryIO | None,
    seal: str | None,
    show_subject: bool | None,
    accept_new_keys: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Hand in the message in FILE (- is standard input), or a new one.

    With --subject, --cc, --bcc, --attach or --editor it is a new one, and at a terminal too; else
    standard input is a whole message. Prints the message's ID.
    """
    handing = Handing(sign, wish_of(seal, show_subject, accept_new_keys), dry_run)
    agent = open_agent(context.obj)
    if editor is None:
        editor = file is None and sys.stdin.isatty()
    is_new = bool(subject is not None or cc or bcc or attach or editor)
    if file is not None and is_new:
        raise click.UsageError("FILE is a message; these options are for a new one")
    if not is_new:
        author = None if sender is None else _address(sender)
        message = pieces(file or sys.stdin.buffer)
        tell(agent, hand_in(agent, message, author, to or None, handing), as_json)
        return
    new = NewMessage(
        sender=sender or str(own_address(agent)), to=to, cc=cc, bcc=bcc, subject=subject or "",
        attachments=attachments(attach),
    )  # fmt: skip
    tell(agent, hand_in_new(agent, new, editor, handing), as_json)


@dataclass(frozen=True, slots=True)
class Handing:
    """How a message is handed in. ``key``: a private SSH key to sign with; ``wish``: how it is
    sealed; ``dry_run``: only told."""

    key: BinaryIO | None
    wish: Wish
    dry_run: bool = False


def hand_in(
    agent: Agent,
    message: Iterable[bytes],
    sender: str | None,
    recipients: Sequence[str] | None,
    handing: Handing,
) -> Submission | Plan:
    """Hands in a message that is there; ``sender``: None for the one in From.

    Returns the plan alone of a dry run. Raises what injection does.
    """
    author, octets = (sender, message) if sender else _author(iter(message))
    if handing.key is not None:
        octets = [AuthorKey(handing.key.read()).signed(b"".join(octets))]
    if handing.dry_run:
        return preview(agent, octets, author, recipients, handing.wish)
    return submit(agent, octets, author, recipients, handing.wish)


def hand_in_new(agent: Agent, new: NewMessage, editor: bool, handing: Handing) -> Submission | Plan:
    """Hands in a new message, whose text is written in an editor or read from standard input."""
    if editor:
        with edited(new) as written:
            octets, author = _composed(agent, written)
            if sys.stdin.isatty() and not handing.dry_run:
                for line in told(preview(agent, [octets], author, None, handing.wish)):
                    click.echo(line)
                recipients = ", ".join([*written.to, *written.cc, *written.bcc])
                click.confirm(f"Send it to {recipients}?", default=True, abort=True)
            return hand_in(agent, [octets], author, None, handing)
    octets, author = _composed(agent, new_text(new))
    return hand_in(agent, [octets], author, None, handing)


def new_text(new: NewMessage) -> NewMessage:
    """The same with the text from standard input above what it has."""
    return replace(new, text=sys.stdin.buffer.read().decode("utf-8", "replace") + new.text)


def tell(agent: Agent, submission: Submission | Plan, as_json: bool) -> None:
    """Prints what became of it, or would."""
    if isinstance(submission, Plan):
        _tell_plan(submission, as_json)
        return
    if submission.plan is not None and not as_json:
        for line in worth_telling(submission.plan):
            click.echo(line, err=True)
    if as_json:
        found = {**described(agent, submission.message), "new": submission.is_new}
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    if not submission.is_new:
        click.echo("it was handed in before, and is not sent again", err=True)
    click.echo(submission.identifier)


def _tell_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"dry-run": True, **described_plan(plan)}, ensure_ascii=False))
    else:
        for line in list(told(plan)) or ["nothing of it would be sealed"]:
            click.echo(line)
    if any(one.refused for one in plan.recipients):
        sys.exit(FAILED)


def attachments(paths: Sequence[Path]) -> tuple[NewAttachment, ...]:
    """Files, to be attached."""
    return tuple(
        NewAttachment(path.name, mimetypes.guess_type(path.name)[0] or "", path.read_bytes())
        for path in paths
    )


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The octets of a file as they come."""
    while piece := file.read(PIECE):
        yield piece


def _composed(agent: Agent, new: NewMessage) -> tuple[bytes, str]:
    """A new message's octets, and its author's address."""
    if not (new.to or new.cc or new.bcc):
        raise click.UsageError("a new message needs --to, --cc or --bcc")
    author = _address(new.sender)
    identifier = f"<{new_identifier()}@{author.rpartition('@')[2]}>"
    now = datetime.fromtimestamp(agent.clock(), UTC)
    return compose(new, date=now, message_id=identifier), author


def _address(text: str) -> str:
    """The address of one mailbox, with a name or without. Raises MalformedMessage."""
    found = typed_mailboxes(text)
    if len(found) != 1:
        raise MalformedMessage("a message has one sender")
    return str(found[0].endpoint)


def _author(message: Iterator[bytes]) -> tuple[str, Iterator[bytes]]:
    """Who the message says has written it, and the message as it was."""
    start = b""
    for piece in message:
        start += piece
        if split_header(start) is not None or len(start) > MOST_LOOKED_AT:
            break
    author = author_of(start)
    if author is None:
        raise MalformedMessage("the message has no From; name the sender with --from")
    return str(author), _rejoined(start, message)


def _rejoined(start: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from rest
