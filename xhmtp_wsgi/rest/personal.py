"""What is somebody's own: feed tokens and filters."""

from urllib.parse import urlencode

from webob import Response

from xhmtp_wsgi.errors import Malformed, NotFound, Unprocessable
from xhmtp_wsgi.recipient import filters
from xhmtp_wsgi.recipient.filters import Action, Rule
from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.rest import schemas
from xhmtp_wsgi.rest.mailbox import moment, no_content
from xhmtp_wsgi.rest.operation import Call, Operation
from xhmtp_wsgi.routes import inbox_path

MOST_NUMBER = (1 << 31) - 1


def _tokens(call: Call) -> Response:
    found = call.agent.accounts.tokens(call.owner)
    items = [{"id": one.id, "label": one.label, "made": moment(one.created_at)} for one in found]
    return json_response(200, {"items": items})


def _add_token(call: Call) -> Response:
    token = call.agent.accounts.add_token(call.owner, call.body["label"])
    # The prefix as it was asked for: SCRIPT_NAME ends with it.
    path = inbox_path(call.request.script_name.strip("/"), call.owner)
    feed = f"{path}?{urlencode({'token': token})}"
    return json_response(201, {"token": token, "feed": feed})


def _revoke_token(call: Call) -> Response:
    call.agent.accounts.revoke_token(call.owner, _number(call.path["id"]))
    return no_content()


def _filters(call: Call) -> Response:
    found = filters.owned(call.agent.database, str(call.owner))
    return json_response(200, {"items": [_described(one) for one in found]})


def _add_filter(call: Call) -> Response:
    body = call.body
    if ("header" in body) != ("pattern" in body):
        raise Unprocessable("a header and a pattern go together")
    try:
        rule = filters.add(
            call.agent.database,
            str(call.owner),
            Action(body["action"]),
            body["who"],
            body.get("header"),
            body.get("pattern"),
            first=body.get("first", False),
        )
    except Malformed as error:
        raise Unprocessable(str(error)) from None
    return json_response(201, _described(rule))


def _remove_filter(call: Call) -> Response:
    filters.remove(call.agent.database, str(call.owner), _number(call.path["id"]))
    return no_content()


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MOST_NUMBER):
        raise NotFound("there is no such thing")
    return int(text)


def _described(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "action": rule.action.value,
        "who": rule.who,
        "header": rule.header,
        "pattern": rule.pattern,
    }


OPERATIONS = (
    Operation(
        "tokens", "GET", "tokens", "Feed tokens, without themselves", _tokens,
        {200: schemas.of_many("Token")},
    ),
    Operation(
        "add-token", "POST", "tokens", "Make a feed token; it is told this once", _add_token,
        {201: schemas.reference("MadeToken")}, body=schemas.reference("NewToken"),
    ),
    Operation(
        "revoke-token", "DELETE", "tokens/{id}", "End a token at once", _revoke_token, {204: None},
    ),
    Operation(
        "filters", "GET", "filters", "One's own filters, in their order", _filters,
        {200: schemas.of_many("Filter")},
    ),
    Operation(
        "add-filter", "POST", "filters", "Add a filter", _add_filter,
        {201: schemas.reference("Filter")}, body=schemas.reference("NewFilter"),
    ),
    Operation(
        "remove-filter", "DELETE", "filters/{id}", "Remove a filter", _remove_filter, {204: None},
    ),
)  # fmt: skip
