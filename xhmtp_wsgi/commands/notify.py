"""xhmtp-notify: one pass over the notification queue, for cron; or one after another with --loop.

Silent when all is well, as cron mails whatever is printed. Exit 0 when it could work; 1, with a
line on standard error for each thing that an operator must see to; 2 for wrong settings. With
--loop, what is handed in is told of at once, and whatever else is due in its time. It outlives a
database that is away for a while: it says so once, and goes on. SIGTERM and SIGINT end it after the
notifications that are on their way. On a terminal a bar tells how far it has come.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click

from xhmtp_wsgi import group_register
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import FAILED, one_line_errors, open_agent
from xhmtp_wsgi.errors import DatabaseUnavailable, SchemaOutdated, StorageFull
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.notifier_pass import PassReport, Progress

PROGRAM = "xhmtp-notify"
AGAIN_AFTER = 1.0  # seconds at the least, where a pass has failed
LOOK = 0.05  # seconds between two looks whether something new was handed in

_loop = click.option(
    "--loop",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Go on for ever: this long after each pass, and at once with what is new.",
)
_verbose = click.option("--verbose", "-v", is_flag=True, help="Tell each step, and what was done.")


@click.command()
@click.option("--config", type=click.Path(), help="The settings' file.")
@_loop
@_verbose
@click.version_option(package_name="xhmtp_wsgi")
def main(config: str | None, loop: float | None, verbose: bool) -> None:
    """Notify the recipients of waiting messages."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR, format="xhmtp-notify: %(message)s"
    )
    with one_line_errors(PROGRAM):
        code = work(open_agent(config), loop, verbose)
    sys.exit(code)


@click.command("notify")
@_loop
@_verbose
@click.pass_context
def notify(context: click.Context, loop: float | None, verbose: bool) -> None:
    """Notify the recipients of waiting messages; for cron."""
    context.exit(work(open_agent(context.obj), loop, verbose))


def work(agent: Agent, loop: float | None, verbose: bool) -> int:
    """One pass, or one after another until a signal ends it; returns the exit code."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with _bar(verbose) as progress:
        notifier = Notifier(agent, stopped.is_set, progress, more=(_groups,))
        if loop is None:
            return _told(notifier.run_pass(), verbose)
        return _loop_until(stopped, loop, notifier, verbose)


def _groups(agent: Agent, over: Callable[[], bool]) -> int:
    """The work of groups; what does it is loaded only where there is one, as it takes 4 MB."""
    if not group_register.all_groups(agent.database):
        return 0
    from xhmtp_wsgi import groups

    return groups.work_through(agent, over)


def _loop_until(stopped: threading.Event, seconds: float, notifier: Notifier, verbose: bool) -> int:
    """One pass after another; the exit code of the last. Raises SchemaOutdated."""
    failed = ""
    while True:
        try:
            code, wait, failed = _told(notifier.run_pass(), verbose), seconds, ""
        except SchemaOutdated:
            # Another program has taken this one's place.
            raise
        except (DatabaseUnavailable, StorageFull) as error:
            code, wait = FAILED, max(seconds, AGAIN_AFTER)
            if str(error) != failed:
                failed = str(error)
                click.echo(f"{PROGRAM}: {failed}; it is tried again", err=True)
        if _waits(stopped, wait, notifier):
            return code


def _waits(stopped: threading.Event, seconds: float, notifier: Notifier) -> bool:
    """Waits so long, or until something new was handed in; is it to end?"""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if stopped.wait(min(left, LOOK)):
            return True
        if notifier.has_news():
            break
    return stopped.is_set()


def _told(report: PassReport, verbose: bool) -> int:
    """Says what there is to say of a pass; the exit code."""
    for line in report.to_mend:
        click.echo(f"{PROGRAM}: {line}", err=True)
    if verbose:
        click.echo(
            f"notified {report.notified}, refused {report.refused}, "
            f"expired {report.expired}, put off {report.deferred}, "
            f"senders told {report.reports}"
        )
    return FAILED if report.to_mend else 0


@contextmanager
def _bar(verbose: bool) -> Iterator[Progress]:
    """A bar on a terminal; nothing elsewhere."""
    if verbose or not sys.stderr.isatty():
        yield lambda done, due: None
        return
    with ExitStack() as shown:
        bar = click.progressbar(length=1, label="telling", file=sys.stderr, show_pos=True)
        is_shown = False

        def progress(done: int, due: int) -> None:
            nonlocal is_shown
            if not due:
                return
            if not is_shown:
                shown.enter_context(bar)
                is_shown = True
            bar.length = max(due, done)
            bar.update(done - bar.pos)

        yield progress
