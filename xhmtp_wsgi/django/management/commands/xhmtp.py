"""``manage.py xhmtp ...``: the commands, on the project's own agent and users."""

import sys
from typing import Any

import click
from django.core.management.base import BaseCommand, CommandError

from xhmtp_wsgi.commands.embedded import embedded_commands
from xhmtp_wsgi.django import the_agent


class Command(BaseCommand):
    """Hands the whole line to the commands; they tell of themselves with --help."""

    help = "XHMTP: users, tokens, filters, keys, queue, check ... (xhmtp --help)"
    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's way to say so

    def run_from_argv(self, argv: list[str]) -> None:
        """From the command line."""
        embedded_commands(the_agent).main(argv[2:], prog_name=f"{argv[0]} xhmtp")

    def handle(self, *args: Any, **_options: Any) -> None:
        """From ``call_command("xhmtp", "user", "list")``. Raises CommandError."""
        try:
            code = embedded_commands(the_agent).main(list(args), "xhmtp", standalone_mode=False)
        except click.ClickException as error:
            raise CommandError(error.format_message()) from None
        if code:
            sys.exit(code)

    def add_arguments(self, parser: Any) -> None:
        """For ``call_command``: whatever comes."""
        parser.add_argument("args", nargs="*")
