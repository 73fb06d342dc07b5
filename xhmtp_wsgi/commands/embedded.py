"""The commands as a site's own framework shows them: `flask xhmtp ...`, `manage.py xhmtp ...`.

They work on the agent that the site has, with its settings and its users, so that --config and
`init` are not among them; `notify` is.
"""

from collections.abc import Callable

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.notify import notify
from xhmtp_wsgi.commands.xhmtp import OneLineErrors
from xhmtp_wsgi.commands.xhmtp import main as xhmtp

LEFT_OUT = ("init",)


def embedded_commands(agent: Callable[[], Agent]) -> click.Group:
    """A group with all of the commands; ``agent`` is asked for when one of them runs."""
    commands = {name: one for name, one in xhmtp.commands.items() if name not in LEFT_OUT}

    @click.pass_context
    def open_site(context: click.Context) -> None:
        context.obj = agent()

    return OneLineErrors(
        "xhmtp",
        commands={**commands, "notify": notify},
        callback=open_site,
        help=xhmtp.help,
    )
