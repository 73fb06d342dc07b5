"""Asks for a secret at the terminal, unseen; what a command prints is not mixed with the question.

Security: never an argument, nor the environment, which is handed on to every program that is run.
"""

import sys

import click

from xhmtp_wsgi.errors import Permanent


class NoTerminal(Permanent):
    """Nobody is there to be asked."""


def asked(what: str) -> str:
    """What is typed. ``what``: the question, without a colon. Raises NoTerminal, or click.Abort."""
    if not (sys.stdin.isatty() or sys.stderr.isatty()):
        raise NoTerminal(f"no terminal to ask for the {what[:1].lower()}{what[1:]}")
    return str(click.prompt(what, hide_input=True, err=True))
