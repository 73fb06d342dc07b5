"""The commands: xhmtp and xhmtp-notify. What they share is here.

Security: a password is asked for, or read from standard input; never an argument, as those can be
seen by every user of the machine.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.errors import SettingsError, XHMTPError
from xhmtp_wsgi.settings import Settings, find_file

FAILED = 1
MISUSED = 2


def open_agent(config: str | Agent | None) -> Agent:
    """The agent of a settings' file, or of the one that is found; one that is open stays so.

    Raises SettingsError.
    """
    if isinstance(config, Agent):
        return config
    return make_agent(Settings.load(config or find_file(os.environ), os.environ))


@contextmanager
def one_line_errors(program: str) -> Iterator[None]:
    """Turns our errors into one line on standard error, and exit 1, or 2 for wrong settings."""
    try:
        yield
    except SettingsError as error:
        print(f"{program}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(MISUSED)
    except XHMTPError as error:
        print(f"{program}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(FAILED)
