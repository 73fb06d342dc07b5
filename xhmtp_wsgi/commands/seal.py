"""xhmtp seal: seals a message on its author's own machine, and hands it in, or writes it down.

Her agent gets nothing that it could read: neither the text nor the subject, and of each copy only
whom it is to be delivered to. Nothing is sent before the keys of all recipients are known.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.asking import asked
from xhmtp_wsgi.commands.author_key import AuthorKey
from xhmtp_wsgi.commands.client import open_client
from xhmtp_wsgi.commands.handing_in import Login, Outbox, hand_in
from xhmtp_wsgi.commands.keys_to_seal_to import found_keys, given_keys, told
from xhmtp_wsgi.commands.sealed_copies import Copy, copies, sealed_file, sealed_to, shared_copy
from xhmtp_wsgi.commands.send import pieces
from xhmtp_wsgi.commands.unsealed_message import Draft, taken_in
from xhmtp_wsgi.commands.whole_file import whole_file
from xhmtp_wsgi.errors import Permanent, Unprocessable, XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Recipient

_existing = click.Path(exists=True, dir_okay=False, path_type=Path)


class NotAllSent(Permanent):
    """Some of the copies were handed in, and one was not; the text says which."""


@click.command("seal")
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--from", "sender", metavar="ADDRESS",
              help="Who sends; by default the message's From.")  # fmt: skip
@click.option("--to", multiple=True, metavar="ADDRESS",
              help="A recipient; by default those of To, Cc and Bcc.")  # fmt: skip
@click.option("--recipient", "-r", "recipient_keys", multiple=True, metavar="KEY",
              help="Seal to this key (age1...), and look none up.")  # fmt: skip
@click.option("--recipients-file", "-R", "key_files", multiple=True, type=_existing, metavar="FILE",
              help="Seal to the keys in FILE, one a line, and look none up.")  # fmt: skip
@click.option("--own-key", "own_keys", multiple=True, metavar="KEY",
              help="Seal to this key too, to read it yourself.")  # fmt: skip
@click.option("--accept-new-keys", is_flag=True,
              help="Take keys that a recipient did not have before for his.")  # fmt: skip
@click.option("--sign", type=click.File("rb"), help="Sign with this private SSH key, then seal.")
@click.option("--show-subject", is_flag=True, help="Let the subject be seen outside.")
@click.option("--post", metavar="URL",
              help="Hand it in at this outbox, as http(s)://HOST/PREFIX/NAME/.")  # fmt: skip
@click.option("--user", metavar="NAME", help="Log in as NAME; by default the sender's address.")
@click.option("--password", "password_from", type=click.Choice(["-"]),
              help="Read the password from the first line of standard input; by default it is "
              "asked for.")  # fmt: skip
@click.option("--output", "-o", metavar="OUT",
              help="Write it there to be handed in; by default to standard output.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Tell to which keys it would be sealed, and no more.")
@click.pass_context
def seal(
    context: click.Context,
    file: BinaryIO | None,
    sender: str | None,
    to: tuple[str, ...],
    recipient_keys: tuple[str, ...],
    key_files: tuple[Path, ...],
    own_keys: tuple[str, ...],
    accept_new_keys: bool,
    sign: BinaryIO | None,
    show_subject: bool,
    post: str | None,
    user: str | None,
    password_from: str | None,
    output: str | None,
    dry_run: bool,
) -> None:
    """Seal the message in FILE, by default on standard input, to the keys of its recipients.

    It needs no agent here: keys are asked of the recipients' agents, and those that were seen first
    are remembered in ~/.local/share/xhmtp. With --post it is handed in; else it is written as it
    can be: POST it as message/rfc822. All are sealed to, or nothing is done. Who is in Bcc gets a
    copy of his own, as do those whose keys are of another kind: each with a Message-ID of its own.
    """
    if password_from and file is None:
        raise click.UsageError("standard input cannot be both password and message; name a FILE")
    if post is not None and output is not None:
        raise click.UsageError("--post hands it in, --output writes it down; name one")
    outbox = None if post is None else Outbox.parse(post)
    author_key = None if sign is None else AuthorKey(sign.read())
    own = given_keys(own_keys, ())
    given = given_keys(recipient_keys, key_files)
    agent = open_client(context.obj)
    with taken_in(agent, pieces(file or sys.stdin.buffer), sender, to) as draft:
        if given:
            made = [_for_all(draft, given, own)]
        else:
            made = _for_each(agent, draft, own, accept_new=accept_new_keys, remember=not dry_run)
        if dry_run:
            return
        sealing = _Sealing(draft, author_key, show_subject)
        if outbox is None:
            sealing.write(made, output)
            return
        login = Login(user or str(draft.author), _password(password_from))
        sealing.post(made, agent, outbox, login)


class _Sealing:
    """A message, and how its copies are made."""

    def __init__(self, draft: Draft, author_key: AuthorKey | None, show_subject: bool) -> None:
        self._draft, self._author_key, self._show_subject = draft, author_key, show_subject

    def write(self, made: Sequence[Copy], output: str | None) -> None:
        """Writes the one copy. Raises Unprocessable where there are several."""
        if len(made) > 1:
            raise Unprocessable(
                f"this takes {len(made)} files, as whoever is in Bcc gets his own, and keys of two "
                "kinds are never in one: hand them in with --post, or write one at a time with --to"
            )
        if output is None or output == "-":
            with self._file(made[0]) as file:
                file.seek(0)
                for piece in pieces(file):
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            return
        with whole_file(Path(output)) as written:
            sealed_to(
                written, self._draft.message, made[0],
                author_key=self._author_key, show_subject=self._show_subject,
            )  # fmt: skip

    def post(self, made: Sequence[Copy], agent: Agent, outbox: Outbox, login: Login) -> None:
        """Hands in one copy after the other, and prints the ID of each."""
        sent: list[Endpoint] = []
        for copy in made:
            try:
                with self._file(copy) as file:
                    handed_in = hand_in(agent, outbox, login, file, copy.recipients)
            except XHMTPError as error:
                if not sent:
                    raise
                left = [one for other in made for one in other.recipients if one not in sent]
                again = " ".join(f"--to {one}" for one in left)
                raise NotAllSent(
                    f"it was sent to {_listed(sent)}, and not to {_listed(left)}: {error}; "
                    f"the same again with {again} sends it to them"
                ) from None
            sent += copy.recipients
            names = f"\t{_listed(copy.recipients)}" if len(made) > 1 else ""
            click.echo(f"{handed_in.identifier}{names}")
            if not handed_in.is_new:
                click.echo("it was handed in before, and is not sent again", err=True)
                if len(made) > 1:
                    raise NotAllSent(
                        "whether the other copies were is not known here; name with --to whoever "
                        "did not get his"
                    )

    def _file(self, copy: Copy) -> BinaryIO:
        return sealed_file(
            self._draft.message, copy,
            author_key=self._author_key, show_subject=self._show_subject,
        )  # fmt: skip


def _for_all(draft: Draft, keys: Sequence[Recipient], own: Sequence[Recipient]) -> Copy:
    """The one copy that is sealed to given keys. Raises Unprocessable where it cannot be one."""
    visible = set(draft.message.preamble.visible)
    if len(draft.recipients) > 1 and not visible.issuperset(draft.recipients):
        raise Unprocessable(
            "whoever is in Bcc gets a copy of his own, and whose the given keys are is not known: "
            "name him alone with --to, and his keys"
        )
    click.echo(f"sealed to {told(keys)}", err=True)
    return shared_copy(
        draft.message.preamble, draft.recipients, tuple(dict.fromkeys((*keys, *own)))
    )


def _for_each(
    agent: Agent, draft: Draft, own: tuple[Recipient, ...], *, accept_new: bool, remember: bool
) -> list[Copy]:
    """The copies for recipients whose keys are looked up; without ``remember`` they are told of."""
    found = found_keys(agent, draft.author, draft.recipients, accept_new=accept_new,
                       remember=remember, tell_all=not remember)  # fmt: skip
    made = copies(draft.message.preamble, found, own, draft.author.domain)
    if own and not any(set(own).intersection(copy.keys) for copy in made):
        click.echo("no copy is for keys of your own key's kind: you cannot read it", err=True)
    return made


def _password(source: str | None) -> str:
    if source == "-":
        return sys.stdin.readline().rstrip("\r\n")
    return asked("Password")


def _listed(recipients: Sequence[Endpoint]) -> str:
    return ", ".join(map(str, recipients))
