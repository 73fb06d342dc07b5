"""A command that is found when it is run: a site's workers have it, and never run it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import click


class LateCommand(click.Command):
    """Stands for another command, which may be a group."""

    def __init__(self, name: str, find: Callable[[], click.Command]) -> None:
        """``find``: where to get the other one; called once, when it is run or described."""
        super().__init__(name)
        self._find = find

    @cached_property
    def _command(self) -> click.Command:
        return self._find()

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        # From here on click works on the other one, which the context names.
        return self._command.make_context(info_name, args, parent, **extra)

    def invoke(self, context: click.Context) -> Any:
        return self._command.invoke(context)

    def get_short_help_str(self, limit: int = 45) -> str:
        return self._command.get_short_help_str(limit)
