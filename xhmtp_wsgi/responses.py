"""What our resources answer: HTTP codes for errors, in one table, and the headers of every answer.

Errors are application/problem+json (RFC 9457). Every answer keeps what strangers wrote from doing
anything in the site's own origin: no script, no frame, no sniffing, no shared cache.

Security: header values are checked here for CR and LF, as WebOb and some servers let them through.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping

from webob import Response

from xhmtp_wsgi import errors
from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.protocol.basic_authentication import CHALLENGE

# The first class that an error is an instance of decides.
STATUS: tuple[tuple[type[XHMTPError], int], ...] = (
    (errors.Malformed, 400),
    (errors.TooLarge, 413),
    (errors.TooManyNotifications, 413),
    (errors.LengthRequired, 411),
    (errors.UnsupportedType, 415),
    (errors.NotAuthenticated, 401),
    (errors.SignatureInvalid, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.MethodNotAllowed, 405),
    (errors.Gone, 410),
    (errors.Moved, 308),
    (errors.Misdirected, 421),
    (errors.ImpossibleRecipients, 422),
    (errors.Unprocessable, 422),
    (errors.NotSealedToThese, 422),
    (errors.SealBroken, 422),
    (errors.MixedKeys, 422),
    (errors.StorageFull, 507),
    (errors.TooMany, 429),
    (errors.Transient, 503),
)

TITLES = {
    308: "Moved",
    400: "Malformed",
    401: "Not authenticated",
    403: "Refused",
    404: "Not found",
    405: "Method not allowed",
    410: "Gone",
    411: "Length required",
    413: "Too large",
    415: "Unsupported media type",
    421: "Misdirected",
    422: "Cannot be done",
    429: "Too many",
    500: "Internal error",
    503: "Not now",
    507: "Storage full",
}

RETRY_AFTER = 60  # seconds, where an error does not say
MOST_INDENTED = 4096  # characters of JSON that are laid out for people to read

_TWO_LINES = re.compile(r"[\r\n\0]")
SAFE_HEADERS = (
    ("Cache-Control", "private, no-cache"),
    ("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Vary", "Authorization, Accept"),
    ("X-Content-Type-Options", "nosniff"),
)


def response(
    status: int,
    body: bytes,
    content_type: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer with a body that is ready, and the headers that every answer has.

    ``content_type`` is the whole field, with charset. Raises ValueError for a header value that is
    not one line of ISO 8859-1: that would be our own mistake.
    """
    # A 304 tells of no body, and would otherwise tell of an empty one (RFC 9110, 15.4.5).
    of_body = [] if status == 304 else [("Content-Type", content_type)]
    answer = Response(status=status, body=body, headerlist=[*of_body, *SAFE_HEADERS])
    set_headers(answer, (headers or {}).items())
    return answer


def set_headers(answer: Response, headers: Iterable[tuple[str, str]]) -> None:
    """Sets header fields; ValueError for a value that could become two."""
    for name, value in headers:
        if _TWO_LINES.search(value) or not value.isascii():
            raise ValueError(f"the value of {name} is not one line of ASCII")
        answer.headers[name] = value


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON; over MOST_INDENTED it is for programs, and in one line."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= MOST_INDENTED:
        # Python's own encoder, where nothing is indented, takes a quarter of the time.
        text = json.dumps(value, ensure_ascii=False, indent=2)
    return response(status, text.encode("utf-8", "replace") + b"\n", "application/json", headers)


def status_of(error: XHMTPError) -> int:
    """The code that an error is answered with."""
    return next((code for kind, code in STATUS if isinstance(error, kind)), 500)


def retry_after_of(error: XHMTPError) -> int | None:
    """Whole seconds after which the same may succeed; None for what never will."""
    if not isinstance(error, errors.Transient):
        return None
    return math.ceil(error.retry_after or RETRY_AFTER)


def problem(error: XHMTPError) -> Response:
    """The answer to a request that failed."""
    status = status_of(error)
    details: dict[str, object] = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "detail": str(error),
    }
    headers = {}
    if isinstance(error, errors.ImpossibleRecipients):
        details["recipients"] = error.reasons
    if isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, errors.SignatureInvalid):
        headers["WWW-Authenticate"] = 'Signature realm="xhmtp"'
    if isinstance(error, errors.MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, errors.Moved):
        headers["Location"] = error.location
    if (wait := retry_after_of(error)) is not None:
        headers["Retry-After"] = str(wait)
    body = json.dumps(details, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return response(status, body, "application/problem+json", headers)


def internal_problem() -> Response:
    """The answer where our own code failed: it tells nothing, the log has it."""
    body = json.dumps({"type": "about:blank", "title": TITLES[500], "status": 500}).encode() + b"\n"
    return response(500, body, "application/problem+json")
