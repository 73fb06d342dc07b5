"""xhmtp send: hands in a message that is there, or one made of options, of a text, in an editor."""

import json
import mimetypes
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.editing import edited
from xhmtp_wsgi.commands.own_mailbox import own_address
from xhmtp_wsgi.errors import MalformedMessage, MalformedSignature
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.composing import NewAttachment, NewMessage, compose
from xhmtp_wsgi.protocol.mailbox_list import typed_mailboxes
from xhmtp_wsgi.protocol.message import author_of, split_header
from xhmtp_wsgi.protocol.signed_message import sign_message
from xhmtp_wsgi.protocol.ssh_signature import sign as ssh_sign
from xhmtp_wsgi.request_body import PIECE
from xhmtp_wsgi.sender.fetch import described
from xhmtp_wsgi.sender.injection import Submission, submit

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
    as_json: bool,
) -> None:
    """Hand in the message in FILE (- is standard input), or a new one.

    With --subject, --cc, --bcc, --attach or --editor it is a new one, and at a terminal too; else
    standard input is a whole message. Prints the message's ID.
    """
    agent = open_agent(context.obj)
    if editor is None:
        editor = file is None and sys.stdin.isatty()
    is_new = bool(subject is not None or cc or bcc or attach or editor)
    if file is not None and is_new:
        raise click.UsageError("FILE is a message; these options are for a new one")
    if not is_new:
        author = None if sender is None else _address(sender)
        message = pieces(file or sys.stdin.buffer)
        tell(agent, hand_in(agent, message, author, to or None, sign), as_json)
        return
    new = NewMessage(
        sender=sender or str(own_address(agent)), to=to, cc=cc, bcc=bcc, subject=subject or "",
        attachments=attachments(attach),
    )  # fmt: skip
    tell(agent, hand_in_new(agent, new, editor, sign), as_json)


def hand_in(
    agent: Agent,
    message: Iterable[bytes],
    sender: str | None,
    recipients: Sequence[str] | None,
    key: BinaryIO | None,
) -> Submission:
    """Hands in a message that is there; ``sender``: None for the one in From.

    ``key``: a private SSH key to sign with. Raises what injection does.
    """
    author, octets = (sender, message) if sender else _author(iter(message))
    if key is not None:
        octets = [_signed(b"".join(octets), key.read())]
    return submit(agent, octets, author, recipients)


def hand_in_new(agent: Agent, new: NewMessage, editor: bool, key: BinaryIO | None) -> Submission:
    """Hands in a new message, whose text is written in an editor or read from standard input."""
    if editor:
        with edited(new) as written:
            octets, author = _composed(agent, written)
            if sys.stdin.isatty():
                recipients = ", ".join([*written.to, *written.cc, *written.bcc])
                click.confirm(f"Send it to {recipients}?", default=True, abort=True)
            return hand_in(agent, [octets], author, None, key)
    octets, author = _composed(agent, new_text(new))
    return hand_in(agent, [octets], author, None, key)


def new_text(new: NewMessage) -> NewMessage:
    """The same with the text from standard input above what it has."""
    return replace(new, text=sys.stdin.buffer.read().decode("utf-8", "replace") + new.text)


def tell(agent: Agent, submission: Submission, as_json: bool) -> None:
    """Prints what became of it."""
    if as_json:
        found = {**described(agent, submission.message), "new": submission.is_new}
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    if not submission.is_new:
        click.echo("it was handed in before, and is not sent again", err=True)
    click.echo(submission.identifier)


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


def _signed(message: bytes, key: bytes) -> bytes:
    """The message, signed by its author; a passphrase is asked for where the key has one."""
    if b"\r" not in message:
        message = message.replace(b"\n", b"\r\n")
    passphrase = None
    if b"ENCRYPTED" in key or _is_locked(key):
        passphrase = click.prompt("Passphrase", hide_input=True).encode()
    return sign_message(
        message, lambda octets: ssh_sign(key, passphrase, octets), secrets.token_hex(16)
    )


def _is_locked(key: bytes) -> bool:
    try:
        ssh_sign(key, None, [b""])
    except MalformedSignature:
        return True
    return False
