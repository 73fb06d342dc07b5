"""Makes what is stored of a message, by its plan: as it is, or sealed, or several of these.

Each is in a temporary file until it is stored; what is not sealed yet is never on a disk in the
clear (spool.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message import Preamble
from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.protocol.sealed_message import outer_fields
from xhmtp_wsgi.protocol.sealing import seal
from xhmtp_wsgi.sender.sealing import Plan, Planned
from xhmtp_wsgi.sender.spool import SpooledMessage, spool_again

_PIECE = 256 << 10


@dataclass(frozen=True, slots=True)
class Content:
    """Octets to be stored, and who gets them; ``sealed``: to which kind of keys."""

    spooled: SpooledMessage
    sealed: str | None
    recipients: Sequence[Endpoint]


@contextmanager
def contents(
    agent: Agent, spooled: SpooledMessage, plan: Plan, *, subject: bool
) -> Iterator[list[Content]]:
    """What is to be stored of a message; ``subject``: it stands outside too.

    The files are closed in the end. Raises StorageFull.
    """
    settings = agent.settings
    with ExitStack() as files:
        made = []
        for part in plan.parts(spooled.preamble.visible):
            if not part.keys:
                made.append(Content(spooled, None, part.recipients))
                continue
            one = spool_again(
                _outer(spooled.preamble, subject=subject),
                seal(spooled.in_pieces(_PIECE), part.keys),
                directory=settings.spool,
                # What sealing adds is not her doing.
                limit=settings.max_message_size * 2,
            )
            files.enter_context(one.file)
            made.append(Content(one, part.keys[0].kind, part.recipients))
        yield made


def described_plan(plan: Plan) -> dict[str, object]:
    """A plan as JSON has it."""
    return {
        "policy": plan.policy,
        "recipients": [_described(one) for one in plan.recipients],
    }


def _described(one: Planned) -> dict[str, object]:
    return {
        "address": str(one.endpoint),
        "sealed": one.sealed,
        "refused": one.refused or None,
        "in-clear": one.note or None,
        "keys": [fingerprint(key) for key in one.keys],
        "first-seen": one.is_new,
        "changed": one.changed or None,
    }


def _outer(preamble: Preamble, *, subject: bool) -> Preamble:
    fields = outer_fields(preamble.fields, subject=subject)
    header = b"".join(field.raw for field in fields) + b"\r\n"
    return replace(preamble, fields=fields, header=header)
