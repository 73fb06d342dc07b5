"""How a message is sealed, as options of the commands that hand one in; and what is told of it."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.sender.sealing import Plan, Planned, Policy, Wish

_Command = TypeVar("_Command", bound=Callable[..., Any])


def sealing_options(command: _Command) -> _Command:
    """Adds them to a command, which gets them as ``seal``, ``show_subject``, ``accept_new_keys``
    and ``dry_run``."""
    for option in reversed(
        (
            click.option(
                "--seal",
                type=click.Choice([one.value for one in Policy]),
                help="Seal it: never; to recipients whose keys are known; or always, else it is "
                "not sent. By default as you or your domain have chosen.",
            ),
            click.option(
                "--show-subject/--hide-subject",
                default=None,
                help="Does the subject of a sealed message stand outside of it?",
            ),
            click.option(
                "--accept-new-keys",
                is_flag=True,
                help="Seal to the keys of a recipient that have changed since they were known.",
            ),
            click.option(
                "--dry-run",
                is_flag=True,
                help="Tell who would get it sealed, and to which key, and send nothing.",
            ),
        )
    ):
        command = option(command)
    return command


def wish_of(seal: str | None, show_subject: bool | None, accept_new_keys: bool) -> Wish:
    """What the options ask for."""
    return Wish(None if seal is None else Policy(seal), show_subject, accept_new_keys)


def told(plan: Plan) -> Iterator[str]:
    """A line for each recipient; none where nothing is sealed, as is asked for."""
    if plan.policy is not Policy.NEVER:
        for one in plan.recipients:
            yield f"{one.endpoint}: {_words(one)}"


def worth_telling(plan: Plan) -> Iterator[str]:
    """The lines of those with whom it is not as always: in the clear, or to keys new to her."""
    for one, line in zip(plan.recipients, told(plan), strict=False):
        if not one.keys or one.is_new or one.changed:
            yield line


def _words(one: Planned) -> str:
    if one.refused:
        return f"refused: {one.refused}"
    if not one.keys:
        return f"in the clear: {one.note}"
    keys = ", ".join(map(fingerprint, one.keys))
    since = "; first seen now" if one.is_new else f"; {one.changed}" if one.changed else ""
    return f"sealed to {keys}{since}"
