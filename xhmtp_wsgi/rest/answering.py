"""A request to a resource: who asks, which operation it is, and is what it says well-formed?"""

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import (
    Forbidden,
    Malformed,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
)
from xhmtp_wsgi.login_guard import is_cross_site, owner_logged_in
from xhmtp_wsgi.request_body import require_type, whole_body
from xhmtp_wsgi.rest import drafts, mailbox, outgoing, personal, unsealing
from xhmtp_wsgi.rest.operation import Call, Operation, Schema
from xhmtp_wsgi.rest.schemas import COMPONENTS
from xhmtp_wsgi.routes import ResourceRoute

MAX_BODY = 8 << 20  # octets of a JSON body
DEEPEST = 20

OPERATIONS: tuple[Operation, ...] = (
    *mailbox.OPERATIONS,
    *unsealing.OPERATIONS,
    *outgoing.OPERATIONS,
    *drafts.OPERATIONS,
    *personal.OPERATIONS,
)


def answer(agent: Agent, request: Request, route: ResourceRoute) -> Response:
    """``/bob@B/api/...``, any method."""
    _refuse_other_sites(request)
    account = owner_logged_in(agent, request, route.endpoint)
    # With a slash at its end it is the same: so clients join a server's URL and the path "/".
    operation, path = _operation(request.method, route.path if route.path != ("",) else ())
    call = Call(
        agent,
        request,
        account.endpoint,
        path,
        _query(operation, request),
        _body(operation, request),
    )
    return operation.handler(call)


def _refuse_other_sites(request: Request) -> None:
    """A browser sends along what it has cached of Basic credentials, whoever has asked it to."""
    if request.method in ("GET", "HEAD"):
        return
    if is_cross_site(request):
        raise Forbidden("another site's page may not ask for this")


def _operation(method: str, path: tuple[str, ...]) -> tuple[Operation, Mapping[str, str]]:
    wanted = "GET" if method == "HEAD" else method
    allowed = []
    for operation in OPERATIONS:
        found = operation.match(path)
        if found is None:
            continue
        if operation.method == wanted:
            return operation, found
        allowed.append(operation.method)
    if allowed:
        also = ("HEAD",) if "GET" in allowed else ()
        raise MethodNotAllowed(method[:20], tuple(sorted({*allowed, *also})))
    raise NotFound("there is no such resource")


def _query(operation: Operation, request: Request) -> dict[str, Any]:
    """The query's parameters, each once, as their schemas have them; defaults where missing."""
    given = request.GET
    found: dict[str, Any] = {}
    for name in given:
        if name not in operation.query:
            raise MalformedRequest(f"there is no parameter {name[:100]!r} here")
        values = given.getall(name)
        if len(values) > 1:
            raise MalformedRequest(f"{name} is there {len(values)} times")
        found[name] = _parameter(name, values[0], operation.query[name])
    for name, schema in operation.query.items():
        if name not in found and "default" in schema:
            found[name] = schema["default"]
    return found


def _parameter(name: str, text: str, schema: Schema) -> Any:
    value: Any = text
    if schema.get("type") == "integer" and text.isascii() and text.isdigit() and len(text) < 20:
        value = int(text)
    elif schema.get("type") == "boolean" and text in ("true", "false"):
        value = text == "true"
    check(schema, value, name)
    return value


def _body(operation: Operation, request: Request) -> Any:
    if operation.body is None:
        return None
    require_type(request, operation.media_type)
    octets = whole_body(request, MAX_BODY, "the body")
    try:
        value = json.loads(octets.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise MalformedRequest("the body is not JSON in UTF-8") from None
    check(operation.body, value, "the body")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def check(schema: Schema, value: Any, what: str) -> None:
    """Raises Malformed, saying where, for what the schema does not allow."""
    validator = Draft202012Validator({**schema, "components": {"schemas": COMPONENTS}})
    error = next(iter(validator.iter_errors(value)), None)
    if error is not None:
        place = "/".join(map(str, error.absolute_path))
        raise Malformed(f"{what}{' at ' + place if place else ''}: {_said(error.message)}")


def _said(message: str) -> str:
    return message if len(message) <= 200 else message[:200] + "..."
