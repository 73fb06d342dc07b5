"""Requests: somebody writes to team+join@A or team+leave@A, and comes or goes, and is told so.

Who asks is the address in From, vouched for by the checks that its notification passed
(group_policy refuses others). An owner may name others in the subject: they come or go.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from xhmtp_wsgi import group_register
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Forbidden, MalformedAddress
from xhmtp_wsgi.group_register import Group, Joining
from xhmtp_wsgi.groups.answers import answer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display

_BETWEEN = re.compile(r"[\s,;<>]+")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks of a group. ``identifier``: the notice's, for the answers' names."""

    group: Group
    kind: str
    author: Endpoint
    subject: str
    message_id: str | None
    identifier: str
    is_automatic: bool


def fulfil(agent: Agent, request: Request) -> int:
    """Does what was asked for; returns how many messages tell of it."""
    database, group, author = agent.database, request.group, request.author
    asking = group_register.member(database, group, author)
    named, wrong = _named(request.subject) if asking and asking.is_owner else ((), ())
    if named or wrong:
        return _for_others(agent, request, named, wrong)
    if request.kind == "leave":
        was_in = group_register.leave(database, group, [author])
        said = f"You have left {group.title}" if was_in else f"You were not in {group.title}"
        return _tell(agent, request, author, said, _nothing_more(group))
    if asking is not None:
        return _tell(agent, request, author, f"You are in {group.title} already", _welcome(group))
    if group.joining is not Joining.ANYBODY:
        said = f"Only its owners let people into {group.title}"
        return _tell(agent, request, author, said, "You are not in it.\n")
    try:
        _join(agent, group, [author])
    except Forbidden as error:
        return _tell(agent, request, author, f"You are not in {group.title}", f"{error}.\n")
    return _tell(agent, request, author, f"You are in {group.title} now", _welcome(group))


def _for_others(
    agent: Agent, request: Request, named: Sequence[Endpoint], wrong: Sequence[str]
) -> int:
    """What an owner wants of those whom he names; each of them is told, and so is he."""
    group, made = request.group, 0
    if request.kind == "leave":
        said, text = f"You are not in {group.title} any more", _nothing_more(group)
    else:
        said, text = f"You are in {group.title} now", _welcome(group)
    lines = []
    for endpoint in named:
        try:
            changed = (
                group_register.leave(agent.database, group, [endpoint])
                if request.kind == "leave"
                else _join(agent, group, [endpoint])
            )
        except Forbidden as error:
            lines.append(f"{endpoint}: {error}")
            continue
        lines.append(f"{endpoint}: {'done' if changed else 'it was so before'}")
        if changed:
            made += _tell(agent, request, endpoint, said, text)
    lines += [f"{one}: that is no address" for one in wrong]
    title = f"Your request to {request.kind} {group.title}"
    return made + _tell(agent, request, request.author, title, _text(lines))


def _join(agent: Agent, group: Group, joining: Sequence[Endpoint]) -> int:
    return group_register.join(
        agent.database, group, joining, agent.clock(), most=agent.settings.max_recipients
    )


def _named(subject: str) -> tuple[tuple[Endpoint, ...], tuple[str, ...]]:
    """The addresses in a subject, and what looks like one and is none."""
    found: dict[str, Endpoint] = {}
    wrong = []
    for word in _BETWEEN.split(display(subject)):
        if "@" not in word:
            continue
        try:
            endpoint = Endpoint.parse(word)
        except MalformedAddress:
            wrong.append(word)
        else:
            found.setdefault(str(endpoint.canonical), endpoint)
    return tuple(found.values()), tuple(wrong)


def _tell(agent: Agent, request: Request, recipient: Endpoint, subject: str, text: str) -> int:
    if request.is_automatic:
        return 0  # RFC 3834: no answer to what no person has sent
    return answer(
        agent,
        request.group,
        recipient,
        subject,
        text,
        name=f"{request.identifier}.{_short(recipient)}",
        to=request.message_id,
    )


def _short(recipient: Endpoint) -> str:
    """The recipient, as a part of a Message-ID that holds no address of anybody's."""
    return hashlib.sha256(str(recipient.canonical).encode()).hexdigest()[:16]


def _welcome(group: Group) -> str:
    return _text(
        [
            f"What is written to {group.endpoint} comes to you;",
            f"{_WRITERS[group.writers]} may write to it.",
            "",
            f"To leave, write to {group.request_address('leave')}:",
            "anything, with any subject, from this address.",
        ]
    )


_WRITERS = {"members": "whoever is in it", "owners": "its owners alone", "anybody": "anybody"}


def _nothing_more(group: Group) -> str:
    return f"Nothing that is written to {group.endpoint} comes to you from now on.\n"


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
