"""xhmtp unseal: opens a sealed message with its recipient's own key, on any machine.

It needs no settings, no database and no network. In pieces, so that a large one takes no more
memory than a small one.

Security: what is not whole, and authentic to its last octet, is never shown, nor left anywhere.
What goes to standard output was on no disk but sealed: it is opened twice, at first only to see
that it is whole.
"""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from xhmtp_wsgi.commands.identity_files import HOW, identity_files, identity_option
from xhmtp_wsgi.commands.sealed_input import (
    MOST_HEADER,
    SealedInput,
    require_same_message,
    sealed_input,
)
from xhmtp_wsgi.commands.send import pieces
from xhmtp_wsgi.commands.whole_file import whole_file
from xhmtp_wsgi.disk import os_errors
from xhmtp_wsgi.errors import NotSealedToThese

if TYPE_CHECKING:
    from xhmtp_wsgi.protocol.sealing import Identity


@click.command("unseal")
@click.argument("file", type=click.File("rb"), required=False)
@identity_option
@click.option("--output", "-o", metavar="OUT",
              help="Write it there; by default to standard output.")  # fmt: skip
def unseal(file: BinaryIO | None, identity: tuple[Path, ...], output: str | None) -> None:
    """Open the age file in FILE, or in the message in FILE; by default on standard input.

    Nothing is written before all of it has been found to be as it was sealed; a message around it
    must name the author and the Message-ID that the one inside has. Exit 1 where it cannot be
    opened, with the reason.
    """
    keys = identity_files(identity, os.environ)
    if not keys:
        raise NotSealedToThese(f"no key is given; {HOW}")
    sealed = sealed_input(pieces(file or sys.stdin.buffer))
    identities = keys.identities()
    if output is None or output == "-":
        _print(sealed, identities)
        return
    with whole_file(Path(output)) as written:
        for piece in _inside(sealed.fields, sealed.age_file, identities):
            written.write(piece)


def _print(sealed: SealedInput, identities: "Sequence[Identity]") -> None:
    """Writes what is inside to standard output, all of it or nothing."""
    with os_errors("standard output"), tempfile.TemporaryFile() as kept:
        for piece in sealed.age_file:
            kept.write(piece)
        kept.seek(0)
        for _ in _inside(sealed.fields, pieces(kept), identities):
            pass
        kept.seek(0)
        for piece in _inside(sealed.fields, pieces(kept), identities):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _inside(
    around: Mapping[str, str] | None, age_file: Iterable[bytes], identities: "Sequence[Identity]"
) -> Iterator[bytes]:
    """What is in an age file; whole only when this has ended.

    ``around``: the fields of the message that it came in. Raises what unsealing does.
    """
    from xhmtp_wsgi.protocol import sealing

    start = b""
    for piece in sealing.unseal(age_file, identities):
        if around is not None and len(start) < MOST_HEADER:
            start += piece
        yield piece
    if around is not None:
        require_same_message(around, start)
