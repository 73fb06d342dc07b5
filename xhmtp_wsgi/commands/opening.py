"""Opens a message for its owner, as the pages do; and where they may not, at the terminal one may.

The pages fetch only where the setting ``reading`` has it so, since anybody can make a web process
open a page. Here its owner asks, or whoever has the database; so there is no such question, and
more patience.
"""

from xhmtp_wsgi import preferences
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import DeadlineExceeded, TooMany
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.reading import ReadMessage


def open_message(agent: Agent, owner: Endpoint, notice: Notice) -> ReadMessage:
    """The message and what was checked of it: from the copy that is kept, else from its sender.

    A copy is kept if the owner has chosen that. Raises what ``reading.read`` does.
    """
    # Imported late: they bring templates, and half of the commands need none of it.
    from xhmtp_wsgi.web import reading as pages
    from xhmtp_wsgi.web.known_senders import is_known

    try:
        opened = pages.open_message(agent, owner, notice)
    except (pages.NotSwitchedOn, TooMany, DeadlineExceeded):
        found = reading.read(agent, owner, notice)
        chosen = preferences.get(agent.database, owner, pages.KEEP, pages.NEVER)
        if chosen == pages.ALWAYS or (chosen == pages.KNOWN and is_known(agent, owner, notice)):
            pages.keep_copy(agent, owner, notice, found)
        return found
    return ReadMessage(opened.octets, opened.checks)
