"""The keys that an author's own program seals to: given by her, or asked of her recipients' agents.

Whatever is not as it was before is told on standard error, before anything is sent.
"""

from collections.abc import Sequence
from pathlib import Path

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedKey, NotFound, Permanent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.protocol.sealing import Recipient, parse_recipients
from xhmtp_wsgi.sender.recipient_keys import RecipientKeys, keys_for
from xhmtp_wsgi.sender.sealing import MOST_KEYS_EACH

MOST = 512 << 10  # octets of a file of keys
MOST_TOLD = 20  # keys in one line


class NotAllHaveKeys(Permanent):
    """Some of the recipients have no key that can be used; each was told of."""


def given_keys(texts: Sequence[str], files: Sequence[Path]) -> tuple[Recipient, ...]:
    """Keys that are written out, and those in files. Raises MalformedKey, or NotFound."""
    found = [Recipient.parse(text.strip()) for text in texts]
    for path in files:
        try:
            with path.open("rb") as file:
                found += parse_recipients(file.read(MOST).decode("utf-8", "replace"))
        except OSError as error:
            raise NotFound(f"{path}: {error.strerror}") from None
        except MalformedKey as error:
            raise MalformedKey(f"{path}: {error}") from None
    if files and not found:
        raise MalformedKey(f"{files[0]} has no key in it")
    return tuple(dict.fromkeys(found))


def found_keys(
    agent: Agent,
    author: Endpoint,
    recipients: Sequence[Endpoint],
    *,
    accept_new: bool,
    remember: bool,
    tell_all: bool,
) -> dict[Endpoint, tuple[Recipient, ...]]:
    """The keys of each recipient; what is new or has changed is told, and with ``tell_all`` all.

    ``accept_new``: changed keys are taken too. ``remember``: what is used is known from then on;
    nothing is where one of them has none. Raises NotAllHaveKeys, or a Transient error.
    """

    def ask(*, remember: bool) -> list[RecipientKeys]:
        within = agent.settings.seal_within
        found = keys_for(agent, author, recipients, within=within, accept_new=accept_new,
                         remember=remember)  # fmt: skip
        return [found[endpoint] for endpoint in recipients]

    found = ask(remember=False)
    for one in found:
        if one.problem or one.is_new or one.changed or tell_all:
            click.echo(_described(one), err=not tell_all)
    _require_all(found)
    if remember:
        # What was fetched a moment ago is kept: this asks nobody again.
        found = ask(remember=True)
        _require_all(found)
    return {one.endpoint: one.recipients[:MOST_KEYS_EACH] for one in found}


def told(keys: Sequence[Recipient]) -> str:
    """Keys so that people tell them from others."""
    shown = ", ".join(map(fingerprint, keys[:MOST_TOLD]))
    left = len(keys) - MOST_TOLD
    return f"{shown} and {left} more" if left > 0 else shown


def _described(one: RecipientKeys) -> str:
    if one.problem:
        return one.problem
    seen = " (seen for the first time)" if one.is_new else ""
    changed = f" (accepted: {one.changed})" if one.changed else ""
    return f"{one.endpoint}: {told(one.recipients)}{seen}{changed}"


def _require_all(found: Sequence[RecipientKeys]) -> None:
    missing = sum(bool(one.problem) for one in found)
    if missing:
        raise NotAllHaveKeys(
            f"nothing was sent: of {len(found)} recipients, {missing} cannot be sealed to"
        )
