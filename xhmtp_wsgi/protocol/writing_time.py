"""When a message was written, for the order within a conversation.

Notifications overtake each other: of a series that was sent at once, the second part may be told
after the third. Date says in which order they were written, as far as it can be believed.
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import format_datetime, parsedate_to_datetime

from xhmtp_wsgi.errors import MalformedMessage

MOST_AHEAD = 86400.0  # seconds by which a sender's clock may be ahead


def written_at(fields: Mapping[str, str], received_at: float) -> float:
    """Seconds since the epoch, by Date; ``received_at`` where that is missing, or cannot be.

    ``fields``: by name in lower case. Never raises.
    """
    try:
        moment = parsedate_to_datetime(fields.get("date", "")).timestamp()
    except (ValueError, OverflowError, OSError):
        return received_at
    return moment if 0 < moment < received_at + MOST_AHEAD else received_at


def utc_date(value: str) -> str:
    """A Date in UTC, to the minute: a zone tells where somebody is. Raises MalformedMessage."""
    try:
        moment = parsedate_to_datetime(value).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise MalformedMessage("Date is not a date") from None
    return format_datetime(moment.replace(second=0))
