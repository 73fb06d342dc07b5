"""``manage.py xhmtp_notify``: one pass of the notifier, for cron."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from xhmtp_wsgi.commands.notify import work
from xhmtp_wsgi.django import the_agent
from xhmtp_wsgi.errors import XHMTPError


class Command(BaseCommand):
    """Silent when all is well."""

    help = "Notify the recipients of waiting messages."
    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's way to say so

    def add_arguments(self, parser: Any) -> None:
        """--loop SECONDS."""
        parser.add_argument(
            "--loop",
            type=float,
            metavar="SECONDS",
            help="Go on for ever, this long after each pass.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """One pass, or many."""
        try:
            code = work(the_agent(), options["loop"], options["verbosity"] > 1)
        except XHMTPError as error:
            raise CommandError(str(error)) from None
        if code:
            sys.exit(code)
