"""A sealed message, opened with a key that the agent holds for its owner, by his password.

Once, and for this answer alone: nothing stays unlocked, and nothing of what was inside is kept.
What was checked stands in a header field of the answer, as the body is the message, octet by octet.
"""

from webob import Response

from xhmtp_wsgi import opening
from xhmtp_wsgi.errors import (
    MalformedMessage,
    MalformedSeal,
    NotFound,
    NotSealedToThese,
    SealBroken,
    Unprocessable,
)
from xhmtp_wsgi.login_guard import guarded
from xhmtp_wsgi.recipient import held_keys, mailbox
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice, unseal_message
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.rest import schemas
from xhmtp_wsgi.rest.operation import Call, Operation

CHECKS = "XHMTP-Checks"


def _unsealed(call: Call) -> Response:
    agent, owner = call.agent, call.owner
    notice = mailbox.find(agent.database, owner, call.path["id"])
    if not is_sealed_notice(notice):
        raise Unprocessable("the message is not sealed; /content has it, if a copy is kept")
    if not held_keys.has_any(agent.database, owner):
        raise NotFound("no key of yours is held here that could open it")
    identities = guarded(
        agent,
        call.request,
        str(owner),
        lambda: held_keys.unlock(agent.database, owner, call.body["password"]),
    )
    found = opening.find_octets(agent, owner, notice)
    try:
        inside = unseal_message(
            agent, owner, notice, found.octets, identities, opening.author_keys(agent, owner)
        )
    except (MalformedMessage, MalformedSeal, NotSealedToThese, SealBroken) as error:
        raise Unprocessable(str(error)) from None
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{notice.identifier}.eml"',
        CHECKS: _told((*notice.checks, *found.checks, *inside.checks)),
    }
    return response(200, inside.octets, "message/rfc822", headers)


def _told(checks: tuple[Check, ...]) -> str:
    """Name and result of each: a list as RFC 9110 has it, section 5.6.1."""
    return ", ".join(f"{check.name.replace(' ', '-')}={check.result}" for check in checks)


OPERATIONS = (
    Operation(
        "unsealed", "POST", "messages/{id}/unsealed",
        "What is in a sealed message, opened with a held key by its password", _unsealed,
        {200: {"type": "string", "format": "binary"}}, body=schemas.reference("Unsealing"),
    ),
)  # fmt: skip
