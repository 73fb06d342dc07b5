"""What our users' addresses publish: keys that they sign with, and keys to seal messages to.

``GET /PREFIX/bob@B/keys``: in the form that ``age -R`` reads (protocol/published_keys.py), signed
by the domain where it has a key, so that nobody in between can change it; caches may keep it for an
hour. ``?form=allowed-signers``: signing keys as ``ssh-keygen -Y verify -f`` reads them, unsigned.

Security: an address without an account, one without a key, a group and a forwarding get the same
kind of answer: a list without keys, for which the same questions were asked of the database.
"""

import hashlib

from webob import Request, Response

from xhmtp_wsgi.addressing import Kind
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Misdirected
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.published_keys import KeyList, allowed_signers
from xhmtp_wsgi.protocol.response_signature import sign_response
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.routes import KeysRoute
from xhmtp_wsgi.sender import author_keys, sealing_keys

CACHED_FOR = 3600  # seconds
CONTENT_TYPE = "text/plain; charset=utf-8"


def serve_keys(agent: Agent, request: Request, route: KeysRoute) -> Response:
    """``GET /PREFIX/alice@A/keys``."""
    published = published_keys(agent, route.endpoint)
    if request.GET.get("form") == "allowed-signers":
        return _answer(request, allowed_signers(route.endpoint, published.signing), {})
    text = published.text()
    return _answer(request, text, _signature(agent, route.endpoint.domain, text.encode("ascii")))


def published_keys(agent: Agent, endpoint: Endpoint) -> KeyList:
    """What an address of ours publishes.

    An alias that leads to one of our mailboxes publishes its keys to seal to, and its keys to sign
    with only where it may write in the alias's name. Raises Misdirected for another's address.
    """
    if not agent.accounts.acts_for(endpoint.domain):
        raise Misdirected(f"this agent does not act for {endpoint.domain}")
    destination = agent.addressing.resolve(endpoint)
    is_mailbox = destination is not None and destination.kind is Kind.MAILBOX
    owner = destination.endpoint if destination is not None and is_mailbox else endpoint
    signing = author_keys.keys_of(agent.database, owner)
    sealing = sealing_keys.recipients_of(agent.database, owner)
    may_sign = agent.addressing.may_send_as(owner, endpoint)
    if not is_mailbox:
        # Also those of an account that was removed.
        return KeyList(endpoint)
    return KeyList(endpoint, tuple(signing) if may_sign else (), sealing)


def _signature(agent: Agent, domain: str, body: bytes) -> dict[str, str]:
    signer = agent.signing_keys.signer(domain)
    if signer is None:
        return {}
    return sign_response(
        content_type=CONTENT_TYPE,
        body=body,
        seed=signer.seed,
        name=signer.name,
        now=agent.clock(),
    )


def _answer(request: Request, text: str, signature: dict[str, str]) -> Response:
    body = text.encode("ascii")
    tag = hashlib.sha256(body).hexdigest()
    headers = {"Cache-Control": f"max-age={CACHED_FOR}", "ETag": f'"{tag}"', **signature}
    if request.if_none_match and tag in request.if_none_match:
        # With the new signature: a cache takes it for the body that it has (RFC 9111, 4.3.4).
        return response(304, b"", "", headers)
    return response(200, body, CONTENT_TYPE, headers)
