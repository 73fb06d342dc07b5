"""``/openapi.json``: the resources as OpenAPI 3.1 describes them, made of the operations."""

import re
from typing import Any

from webob import Request, Response

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.rest import answering
from xhmtp_wsgi.rest.operation import Operation
from xhmtp_wsgi.rest.schemas import COMPONENTS
from xhmtp_wsgi.routes import DescriptionRoute

ERRORS = {
    400: "Not well-formed; `detail` says where",
    401: "The address's own password is wanted",
    403: "Refused",
    404: "There is no such thing",
    405: "Not a method of this resource",
    410: "It is there no more",
    413: "Too large",
    415: "JSON is wanted",
    421: "This agent does not act for that domain",
    422: "Well-formed, but it means nothing here: a recipient that cannot be, say",
    429: "Too many",
    503: "Not now",
    507: "No room",
}


def describe(_agent: Agent, request: Request, _route: DescriptionRoute) -> Response:
    """``GET /PREFIX/openapi.json``: for everybody, as it tells nothing of anybody."""
    return json_response(200, description(request.script_name))


def description(server: str) -> dict[str, Any]:
    """The description; ``server``: what stands before the paths."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in answering.OPERATIONS:
        path = f"/{operation.path}"
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "XHMTP: a mailbox as resources",
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {
                "url": f"{server}/{{address}}/api",
                "variables": {"address": {"default": "you@example.org"}},
            }
        ],
        "security": [{"basic": []}],
        "paths": paths,
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *(
                _in_path(name, {"type": "string"})
                for name in re.findall(r"{(\w+)}", operation.path)
            ),
            *(
                {"name": name, "in": "query", "required": False, "schema": schema}
                for name, schema in operation.query.items()
            ),
        ],
        "responses": {
            **{str(code): _answer(operation, code) for code in operation.answers},
            **{str(code): _problem(text) for code, text in ERRORS.items()},
        },
    }
    if operation.body is not None:
        content = {operation.media_type: {"schema": operation.body}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _in_path(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _answer(operation: Operation, code: int) -> dict[str, Any]:
    schema = operation.answers[code]
    if schema is None:
        return {"description": "Done"}
    binary = schema.get("format") == "binary"
    if binary:
        # The latter for what is sealed (docs/protocol.md, section 11).
        return {"description": "Done", "content": {"message/rfc822": {}, "application/age": {}}}
    return {"description": "Done", "content": {"application/json": {"schema": schema}}}


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}
