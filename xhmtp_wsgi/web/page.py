"""A page: what answers below one first segment of a path, by method."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from webob import Response

from xhmtp_wsgi.web.form import MOST_OCTETS
from xhmtp_wsgi.web.visit import Visit

Handler: TypeAlias = Callable[[Visit], Response]


@dataclass(frozen=True, slots=True)
class Page:
    """What shows it and what takes its forms; None where it has no such. Raises XHMTPError.

    ``most``: octets of a form that is sent to it, with all files.
    """

    get: Handler | None = None
    post: Handler | None = None
    most: int = MOST_OCTETS
