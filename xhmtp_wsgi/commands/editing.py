"""A message written in the user's editor: the fields of its header, an empty line, and its text.

What was written is never lost: where it cannot be sent, it stays in its file, which is named.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from xhmtp_wsgi.errors import MalformedMessage, XHMTPError
from xhmtp_wsgi.protocol.composing import NewMessage
from xhmtp_wsgi.protocol.encoded_fields import one_line

FIELDS = ("From", "To", "Cc", "Bcc", "Subject")


@contextmanager
def edited(new: NewMessage) -> Iterator[NewMessage]:
    """The message as its author has it after editing; to be sent before this ends.

    Raises click.Abort where nothing was written, MalformedMessage, or what the sending raises.
    """
    descriptor, name = tempfile.mkstemp(prefix="xhmtp-", suffix=".txt")
    path = Path(name)
    template = _as_text(new)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.write(template)
    try:
        click.edit(filename=name)
        written = path.read_text(encoding="utf-8", errors="replace")
        if written == template:
            click.echo("nothing was written, and nothing is sent", err=True)
            raise click.Abort
        yield _parsed(new, written)
    except (XHMTPError, click.ClickException, click.Abort, OSError):
        if path.read_text(encoding="utf-8", errors="replace") != template:
            click.echo(f"what you wrote is kept in {path}", err=True)
        else:
            path.unlink()
        raise
    path.unlink()


def _as_text(new: NewMessage) -> str:
    values = (new.sender, ", ".join(new.to), ", ".join(new.cc), ", ".join(new.bcc), new.subject)
    lines = [f"{name}: {one_line(value)}" for name, value in zip(FIELDS, values, strict=True)]
    return "\n".join([*lines, "", new.text])


def _parsed(new: NewMessage, written: str) -> NewMessage:
    header, _, text = written.partition("\n\n")
    values: dict[str, str] = {}
    name = ""
    for number, line in enumerate(header.split("\n"), 1):
        if line[:1] in (" ", "\t") and name:
            values[name] += line
            continue
        name, colon, value = line.partition(":")
        if not colon or name.title() not in FIELDS:
            known = ", ".join(FIELDS)
            raise MalformedMessage(f"line {number} is none of {known}; an empty line ends these")
        name = name.title()
        values[name] = f"{values.get(name, '')} {value}".strip()
    to, cc, bcc = (_one(values.get(name, "")) for name in ("To", "Cc", "Bcc"))
    subject = values.get("Subject", "")
    if not text.strip() and not subject:
        raise MalformedMessage("there is neither a subject nor a text")
    return replace(
        new, sender=values.get("From", ""), to=to, cc=cc, bcc=bcc, subject=subject, text=text
    )


def _one(value: str) -> tuple[str, ...]:
    return (value,) if value else ()
