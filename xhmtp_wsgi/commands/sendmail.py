"""xhmtp-sendmail: as sendmail(8), for programs that send by it: cron, mutt, git send-email, PHP.

It reads a message from standard input and hands it in, silently when all is well. It exits with the
codes of sysexits.h, and says why in a line on standard error; 75 means that the same again may
succeed later. Sendmail's other options are taken and change nothing, but for those that would make
it a server, a queue or a list of aliases. Names without a domain are of the settings' first one.

Security: whoever can read the settings and the database can send as anybody of the domain.
"""

import logging
import sys
from typing import BinaryIO

import click

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.own_mailbox import own_address
from xhmtp_wsgi.commands.piped_message import read_message
from xhmtp_wsgi.commands.sendmail_arguments import Asked, Misused, parse_arguments
from xhmtp_wsgi.errors import (
    DatabaseUnavailable,
    Duplicate,
    Forbidden,
    ImpossibleRecipients,
    Malformed,
    MalformedAddress,
    Misdirected,
    SettingsError,
    TooLarge,
    Transient,
    XHMTPError,
)
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.mailbox_list import Mailbox, typed_mailboxes
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.injection import Submission, submit

PROGRAM = "xhmtp-sendmail"

# sysexits.h
EX_OK, EX_USAGE, EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE = 0, 64, 65, 67, 69
EX_SOFTWARE, EX_IOERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 70, 74, 75, 77, 78
_CODES: tuple[tuple[type[XHMTPError], int], ...] = (
    # The first that fits.
    (SettingsError, EX_CONFIG),
    (ImpossibleRecipients, EX_NOUSER),
    (MalformedAddress, EX_NOUSER),
    (Malformed, EX_DATAERR),
    (TooLarge, EX_DATAERR),
    (Forbidden, EX_NOPERM),
    (Misdirected, EX_NOPERM),
    (Duplicate, EX_UNAVAILABLE),
    (Transient, EX_TEMPFAIL),
)


class _AsSendmail(click.Command):
    """A command whose options are declared to be told of, and are read by other rules."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        if arguments[:1] == ["--help"]:
            click.echo(self.get_help(context))
            context.exit()
        if arguments[:1] == ["--version"]:
            click.echo(f"{PROGRAM}, version {__version__}")
            context.exit()
        context.params = {"arguments": arguments}
        return []


@click.command(cls=_AsSendmail, options_metavar="[OPTIONS] [RECIPIENT]...")
@click.option("--config", "-C", metavar="FILE", help="The settings' file.")
@click.option("-t", is_flag=True, help="To those in To, Cc and Bcc too.")
@click.option(
    "-i",
    "-oi",
    "ignore_dots",
    is_flag=True,
    help="A line with only a dot does not end the message.",
)
@click.option("-f", metavar="ADDRESS",
              help="Who sends, if the message has no From; by default you.")  # fmt: skip
@click.option(
    "-F", "full_name", metavar="NAME", help="The sender's name, if the message has no From."
)
@click.option("-v", is_flag=True, help="Print the message's ID.")
@click.option("--version", is_flag=True, help="Show the version and exit.")
@click.pass_context
def main(context: click.Context, arguments: list[str]) -> None:
    """Send the message on standard input to each RECIPIENT."""
    # What is to be said is said in one line, at the end.
    logging.basicConfig(level=logging.CRITICAL)
    context.exit(_run(arguments, sys.stdin.buffer))


def _run(arguments: list[str], message: BinaryIO) -> int:
    try:
        asked = parse_arguments(arguments)
        if asked.nothing:
            return EX_OK
        submission = send(open_agent(asked.settings), asked, message)
    except Misused as error:
        _complain(f"{error}; see {PROGRAM} --help")
        return EX_USAGE
    except XHMTPError as error:
        reason = error.reason if isinstance(error, DatabaseUnavailable) else ""
        _complain(": ".join(filter(None, (str(error), reason))))
        return next((code for kind, code in _CODES if isinstance(error, kind)), EX_SOFTWARE)
    except OSError as error:
        _complain(f"{error.filename or 'standard input'}: {error.strerror}")
        return EX_IOERR
    if asked.verbose:
        click.echo(submission.identifier)
    return EX_OK


def send(agent: Agent, asked: Asked, message: BinaryIO) -> Submission:
    """Hands the message in. Raises Misused, or what injection does."""
    domain = next(iter(agent.settings.domains))
    named = [
        mailbox.endpoint for one in asked.recipients for mailbox in typed_mailboxes(one, domain)
    ]
    if not named and not asked.from_header:
        raise Misused("no recipient is named")
    piped = read_message(message, domain, dot_ends=asked.dot_ends)
    author = piped.author
    if author is None:
        author = _sender(agent, asked, domain)
        piped = piped.written_by(author)
    recipients = list(dict.fromkeys([*(piped.recipients if asked.from_header else ()), *named]))
    submission = submit(agent, piped.octets(), str(author.endpoint), list(map(str, recipients)))
    if not submission.is_new:
        _require_same_recipients(agent, submission, recipients)
    return submission


def _sender(agent: Agent, asked: Asked, domain: str) -> Mailbox:
    """Who sends where the message does not say."""
    if not asked.sender:
        return Mailbox(asked.name, own_address(agent))
    found = typed_mailboxes(asked.sender, domain)
    if len(found) != 1:
        raise MalformedAddress("-f names the one address that sends")
    return Mailbox(asked.name or found[0].name, found[0].endpoint)


def _require_same_recipients(
    agent: Agent, submission: Submission, recipients: list[Endpoint]
) -> None:
    """Raises Duplicate where one of these was not a recipient when it was handed in first."""
    had = {one.recipient for one in outbox.statuses(agent.database, submission.identifier)}
    missing = [str(one) for one in recipients if str(one) not in had]
    if missing:
        raise Duplicate(
            f"a message with this Message-ID was sent before, and not to {', '.join(missing[:5])}: "
            "nothing is sent now"
        )


def _complain(text: str) -> None:
    click.echo(f"{PROGRAM}: {text}", err=True)


if __name__ == "__main__":
    main()
