"""WSGI applications that only answer: what gunicorn itself takes."""

from xhmtp_wsgi.wing import Environ, StartResponse

ANSWER = b'{"status": "taken", "recipient": "user0@b.test"}'
FOUR_KIB = b"x" * 4096


def created(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """201 to every POST, its body read."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response(
        "201 Created",
        [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))],
    )
    return [ANSWER]


def unchanged(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """304 to everything."""
    start_response("304 Not Modified", [("ETag", '"1"')])
    return []


def four_kib(_environ: Environ, start_response: StartResponse) -> list[bytes]:
    """200 with 4 KiB."""
    start_response(
        "200 OK", [("Content-Type", "message/rfc822"), ("Content-Length", str(len(FOUR_KIB)))]
    )
    return [FOUR_KIB]
