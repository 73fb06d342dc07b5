"""xhmtp-notify: one pass over the notification queue, for cron; or one after another with --loop.

Silent when all is well, as cron mails whatever is printed. Exit 0 unless it could not work: then 1
and one line on standard error (2 for wrong settings). SIGTERM and SIGINT end it after the
notifications that are on their way.
"""

import logging
import signal
import sys
import threading

import click

from xhmtp_wsgi.commands import one_line_errors, open_agent
from xhmtp_wsgi.sender.notifier import Notifier


@click.command()
@click.option("--config", type=click.Path(), help="The settings' file.")
@click.option(
    "--loop",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Go on for ever, this long after each pass.",
)
@click.option("--verbose", "-v", is_flag=True, help="Tell each step, and what was done.")
@click.version_option(package_name="xhmtp_wsgi")
def main(config: str | None, loop: float | None, verbose: bool) -> None:
    """Notify the recipients of waiting messages."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR, format="xhmtp-notify: %(message)s"
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with one_line_errors("xhmtp-notify"):
        notifier = Notifier(open_agent(config), stopped.is_set)
        while True:
            report = notifier.run_pass()
            if verbose:
                click.echo(
                    f"notified {report.notified}, refused {report.refused}, "
                    f"expired {report.expired}, put off {report.deferred}"
                )
            if loop is None or stopped.wait(loop):
                break
    sys.exit(0)
