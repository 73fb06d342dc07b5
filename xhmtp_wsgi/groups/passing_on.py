"""Passing on: a group's message is fetched from its author's agent, and stored once for everybody.

The octets are compared with the digest that the notification told. Each member gets an access code
of his own to the one copy; as the Message-ID is kept, a second notification of a message sends
nothing.
"""

from collections.abc import Iterator

from xhmtp_wsgi import group_register
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.group_register import Group
from xhmtp_wsgi.groups.list_header import Passed, passed_on
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.sender.injection import submit_for_group

PIECE = 256 << 10  # octets handed on at once


def pass_on(
    agent: Agent, group: Group, notice: Notice, author: Endpoint | None, *, to_owners: bool
) -> int:
    """Sends the message of a notice to everybody in a group; returns how many were made: 1 or 0.

    ``to_owners``: to them alone, and nobody is told what becomes of it. Raises what reading and
    injection raise, and Forbidden or MalformedMessage for a message that cannot be passed on.
    """
    members = group_register.members_of(agent.database, group, owners=to_owners)
    if not members:
        return 0
    # Well within the time for which this notice is claimed.
    within = agent.settings.lease / 2
    octets = reading.read(agent, group.endpoint, notice, within=within).octets
    passed = passed_on(octets, group, author)
    submission = submit_for_group(
        agent,
        _pieces(passed, octets),
        group.endpoint,
        [member.endpoint for member in members],
        is_report=to_owners,
    )
    return int(submission.is_new)


def _pieces(passed: Passed, octets: bytes) -> Iterator[bytes]:
    yield passed.header
    for start in range(passed.body_at, len(octets), PIECE):
        yield octets[start : start + PIECE]
