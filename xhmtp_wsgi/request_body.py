"""Request bodies: how long is it, and is it whole? Asked before anything is read.

WebOb takes a wrong Content-Length for an empty body, and wsgiref would wait for ever for a chunked
one; so the length is looked at here first (threats: rows 40 and 41). A body is read in pieces, and
one that ends early is an error, never a shorter message.
"""

from collections.abc import Iterator

from webob import Request

from xhmtp_wsgi.errors import LengthRequired, MalformedRequest, TooLarge, UnsupportedType

PIECE = 64 << 10  # octets read at a time


def body_pieces(request: Request, limit: int, what: str) -> Iterator[bytes]:
    """The body in pieces of at most PIECE octets.

    Raises TooLarge past ``limit``, before reading where the length is told; MalformedRequest for a
    Content-Length that is none, or for a body that ends before it; LengthRequired where neither the
    client nor the server (``wsgi.input_terminated``) tells where the body ends; UnsupportedType for
    a content coding.
    """
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise UnsupportedType("a body with a Content-Encoding is not taken")
    length = _content_length(request)
    if length is not None and length > limit:
        raise TooLarge(what, limit)
    stream = request.environ["wsgi.input"]
    taken = 0
    while length is None or taken < length:
        wanted = PIECE if length is None else min(PIECE, length - taken)
        try:
            piece = stream.read(wanted)
        except (OSError, ValueError) as error:
            raise MalformedRequest("the body could not be read to its end") from error
        if not piece:
            break
        taken += len(piece)
        if taken > limit:
            raise TooLarge(what, limit)
        yield piece
    if length is not None and taken < length:
        raise MalformedRequest(f"the body ended after {taken} of {length} octets")


def whole_body(request: Request, limit: int, what: str) -> bytes:
    """The body in one piece. Raises as ``body_pieces`` does."""
    return b"".join(body_pieces(request, limit, what))


def require_type(request: Request, expected: str) -> None:
    """Raises UnsupportedType unless the body is of that media type."""
    given = request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if given != expected:
        raise UnsupportedType(f"this resource takes {expected}")


def _content_length(request: Request) -> int | None:
    """The body's length; None where the server marks its end."""
    given = request.environ.get("CONTENT_LENGTH", "")
    if given:
        if not (given.isascii() and given.isdigit() and len(given) <= 18):
            raise MalformedRequest("Content-Length is not a number")
        return int(given)
    if request.environ.get("wsgi.input_terminated"):
        return None
    if "chunked" in request.environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        raise LengthRequired("this server does not pass on chunked bodies; send a Content-Length")
    return 0
