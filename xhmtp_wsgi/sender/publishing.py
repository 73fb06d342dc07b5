"""Publishes keys to seal to that are handed in together: where one of them cannot be, none is."""

from collections.abc import Sequence

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Duplicate, Forbidden, MixedKeys
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Recipient
from xhmtp_wsgi.sender import sealing_keys


def publish(
    database: Database,
    endpoint: Endpoint,
    recipients: Sequence[Recipient],
    now: float,
    *,
    replace: bool,
) -> list[Recipient]:
    """Publishes keys beside those that are there, or (``replace``) in their place; those meant.

    Raises Duplicate where all of them are published already, Forbidden above MOST_KEYS, or
    MixedKeys where not all are of one kind.
    """
    wanted = list(dict.fromkeys(recipients))
    if len({recipient.kind for recipient in wanted}) > 1:
        raise MixedKeys("these keys are of two kinds, and all must be of one")
    here = sealing_keys.recipients_of(database, endpoint)
    new = [recipient for recipient in wanted if recipient not in here]
    if not new:
        raise Duplicate(f"{endpoint} publishes that key already")
    meant = wanted if replace else new
    if len(meant) + (0 if replace else len(here)) > sealing_keys.MOST_KEYS:
        raise Forbidden(f"{endpoint} would have more than {sealing_keys.MOST_KEYS} keys")
    # Those that were there go with the first new one, which takes their place.
    order = sorted(meant, key=lambda recipient: recipient != new[0])
    for number, recipient in enumerate(order):
        sealing_keys.add(database, endpoint, recipient, now, replace=replace and number == 0)
    return order
