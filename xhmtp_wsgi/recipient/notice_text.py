"""A notice's header fields as text for people: decoded, one line each, with nothing that hides."""

from collections.abc import Mapping

from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.recipient.inbox import Notice


def fields_of(notice: Notice) -> Mapping[str, str]:
    """The fields by name in lower case. They were scanned when they came in."""
    if not notice.headers:
        return {}
    return {
        field.name.lower(): display(field.value)
        for field in scan(notice.headers, len(notice.headers))
    }
