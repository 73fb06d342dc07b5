"""What goes with an account: its inbox, the keys that it published and held, and its choices.

What it has sent stays until it expires, as its recipients may still fetch it.
"""

from xhmtp_wsgi import preferences
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import held_keys, inbox
from xhmtp_wsgi.sender import author_keys, openpgp_keys, recipient_keys, sealing_keys


def remove_account(agent: Agent, endpoint: Endpoint) -> None:
    """Removes an account with all that. Raises NotFound."""
    database = agent.database
    agent.accounts.remove(endpoint)
    inbox.forget(database, endpoint)
    author_keys.forget(database, endpoint)
    sealing_keys.forget(database, endpoint)
    openpgp_keys.forget(database, endpoint)
    held_keys.forget(database, endpoint)
    recipient_keys.forget_all(database, endpoint)
    preferences.forget(database, endpoint)
