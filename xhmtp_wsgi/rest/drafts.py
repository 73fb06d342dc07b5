"""Drafts: begun, changed, thrown away.

Of one that answers a sealed message only that it is there: it is read where its owner's key is
unlocked, on the pages.
"""

from dataclasses import asdict
from typing import Any

from webob import Response

from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.rest import schemas
from xhmtp_wsgi.rest.mailbox import moment, no_content
from xhmtp_wsgi.rest.operation import Call, Operation
from xhmtp_wsgi.sender import drafts
from xhmtp_wsgi.sender.drafts import Draft, DraftFields


def _listed(call: Call) -> Response:
    found = drafts.listed(call.agent.database, call.owner, schemas.MOST_AT_ONCE)
    return json_response(200, {"items": [_described(one) for one in found]})


def _begin(call: Call) -> Response:
    identifier = drafts.save(
        call.agent.database, call.owner, _fields(call.body), call.agent.clock()
    )
    draft = drafts.find(call.agent.database, call.owner, identifier)
    location = f"{call.request.path}/{identifier}"
    return json_response(201, _described(draft), {"Location": location})


def _one(call: Call) -> Response:
    found = drafts.find(call.agent.database, call.owner, call.path["id"])
    return json_response(200, _described(found))


def _replace(call: Call) -> Response:
    drafts.save(
        call.agent.database,
        call.owner,
        _fields(call.body),
        call.agent.clock(),
        drafts.find(call.agent.database, call.owner, call.path["id"]).identifier,
    )
    return _one(call)


def _delete(call: Call) -> Response:
    drafts.delete(call.agent.database, call.owner, call.path["id"])
    return no_content()


def _fields(body: dict[str, Any]) -> DraftFields:
    return DraftFields(**{name.replace("-", "_"): value for name, value in body.items()})


def _described(draft: Draft) -> dict[str, object]:
    fields = {name.replace("_", "-"): value for name, value in asdict(draft.fields).items()}
    return {
        "id": draft.identifier,
        "changed": moment(draft.changed_at),
        "sealed": draft.sealed,
        **fields,
        "attachments": [
            {"id": one.identifier, "name": one.name, "type": one.type, "size": one.size}
            for one in draft.attachments
        ],
    }


_DRAFT, _FIELDS = schemas.reference("Draft"), schemas.reference("DraftFields")

OPERATIONS = (
    Operation(
        "drafts", "GET", "drafts", "Drafts, those changed last first; attachments are not listed",
        _listed, {200: schemas.of_many("Draft")},
    ),
    Operation("begin-draft", "POST", "drafts", "Begin one", _begin, {201: _DRAFT}, body=_FIELDS),
    Operation("draft", "GET", "drafts/{id}", "One draft", _one, {200: _DRAFT}),
    Operation(
        "replace-draft", "PUT", "drafts/{id}", "Change it", _replace, {200: _DRAFT}, body=_FIELDS,
    ),
    Operation("delete-draft", "DELETE", "drafts/{id}", "Throw it away", _delete, {204: None}),
)  # fmt: skip
