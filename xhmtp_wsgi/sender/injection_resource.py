"""The outbox as a resource that takes messages: ``POST /PREFIX/alice/`` (protocol, section 4).

Who injects is found out, the query is read, and what became of the message is told in JSON; the
rest is done by injection.py, as for whoever hands in a message in another way.
"""

from collections.abc import Sequence

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedRequest
from xhmtp_wsgi.protocol.digest import repr_digest
from xhmtp_wsgi.request_body import body_pieces, require_type
from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.routes import OutboxRoute
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.injection import Queued, preview, submit
from xhmtp_wsgi.sender.login import authenticated_sender
from xhmtp_wsgi.sender.outbox import RecipientStatus
from xhmtp_wsgi.sender.sealed_contents import described_plan
from xhmtp_wsgi.sender.sealing import Policy, Wish


def inject(agent: Agent, request: Request, route: OutboxRoute) -> Response:
    """``POST /PREFIX/alice/``; with ``?dry-run=1`` it only tells what would become of it."""
    sender = authenticated_sender(agent, request, route.sender)
    require_type(request, "message/rfc822")
    named = request.GET.getall("to") or None
    wish = _wish(request)
    pieces = body_pieces(request, agent.settings.max_message_size, "the message")
    if request.GET.get("dry-run", "0") != "0":
        planned = preview(agent, pieces, str(sender), named, wish)
        return json_response(200, {"dry-run": True, **described_plan(planned)})
    submission = submit(agent, pieces, str(sender), named, wish)
    message = submission.message
    recipients: Sequence[Queued | RecipientStatus] = (
        submission.queued
        if submission.is_new
        else outbox.statuses(agent.database, message.identifier)
    )
    location = f"{request.environ['SCRIPT_NAME']}/{message.path_name}/{message.identifier}"
    body = {
        "id": message.identifier,
        "message-id": message.message_id,
        "digest": repr_digest(message.digest),
        "size": message.size,
        "recipients": [
            {"address": one.recipient, "state": one.state, "sealed": one.sealed}
            for one in recipients
        ],
    }
    return json_response(201 if submission.is_new else 200, body, {"Location": location})


def _wish(request: Request) -> Wish:
    """What the query asks for. Raises MalformedRequest."""
    given, subject = request.GET.get("seal"), request.GET.get("subject")
    if given is not None and given not in set(Policy):
        raise MalformedRequest(f"seal is none of {', '.join(Policy)}")
    if subject not in (None, "inside", "outside"):
        raise MalformedRequest("subject is none of inside, outside")
    return Wish(
        policy=None if given is None else Policy(given),
        subject_outside=None if subject is None else subject == "outside",
        accept_new_keys=request.GET.get("accept-keys", "0") != "0",
    )
