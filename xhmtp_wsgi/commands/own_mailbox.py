"""Whose mailbox a command works on, which message of it, and who is at the terminal."""

import os
import pwd

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedAddress, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox, mailbox
from xhmtp_wsgi.recipient.inbox import Notice


def owner_of(agent: Agent, address: str) -> Endpoint:
    """The owner of a mailbox here. Raises MalformedAddress, Misdirected or NotFound."""
    owner = Endpoint.parse(address)
    if agent.accounts.find(owner) is None:
        raise NotFound(f"there is no mailbox of {owner} here")
    return owner


def message_of(agent: Agent, owner: Endpoint, which: str) -> Notice:
    """The message with that number, as ``xhmtp inbox`` lists it, or that ID. Raises NotFound."""
    if not (which.isascii() and which.isdigit() and len(which) < 19):
        return mailbox.find(agent.database, owner, which)
    found = inbox.page(agent.database, owner, newest=int(which), limit=1)
    if not found:
        raise NotFound(f"{owner} has no message {which}")
    return found[0]


def user_name() -> str:
    """The name of whoever runs this program; his number where he has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def own_address(agent: Agent) -> Endpoint:
    """The address of whoever runs this program: his name at the first domain of the settings.

    Raises MalformedAddress where his name can be none.
    """
    domain = next(iter(agent.settings.domains))
    name = user_name()
    try:
        return Endpoint.parse(f"{name}@{domain}")
    except MalformedAddress as error:
        raise MalformedAddress(f"the user {name!r} can have no address: {error}") from None
