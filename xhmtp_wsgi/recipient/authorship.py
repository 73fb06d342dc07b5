"""Who wrote it? The checks *agent* and *signature* of a notification (docs/protocol.md, section 6).

Security: the domain of the key, the domain in From and the domain whose agent serves the message
must be one; else a signature says nothing of the author.
"""

from collections.abc import Mapping

from xhmtp_wsgi.discovery import Discovery
from xhmtp_wsgi.errors import BadDomain, MalformedSignature, NoService, SignatureInvalid
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.signature import KeyName, key_of, verify_request
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS, Check

AGENT, SIGNATURE = "agent", "signature"


def check_agent(url: MessageURL, domain: str | None, discovery: Discovery) -> Check:
    """Passes where the URL lies under host, port and prefix of an agent of the domain in From.

    ``domain``: None for an anonymous message. Raises DNSUnavailable.
    """
    if domain is None:
        return Check(AGENT, NONE, "the message is anonymous")
    try:
        targets = discovery.agents(domain)
        prefix = discovery.prefix(domain)
    except (NoService, BadDomain) as error:
        return Check(AGENT, FAIL, str(error))
    reached = {(target.scheme, target.host, target.port) for target in targets}
    if (url.scheme, url.host, url.effective_port) not in reached:
        return Check(AGENT, FAIL, f"{url.host} is not an agent of {domain}")
    if not url.path.startswith(f"/{prefix}/"):
        return Check(AGENT, FAIL, f"the message is not below the prefix of {domain}")
    return Check(AGENT, PASS, f"{url.host} is an agent of {domain}")


def check_signature(
    headers: Mapping[str, str],
    body: bytes,
    *,
    target: str,
    domain: str | None,
    discovery: Discovery,
    now: float,
) -> Check:
    """Passes where a key of the domain in From has signed the request.

    ``headers``: by name in lower case; ``target``: the request's URL as seen from outside. Raises
    DNSUnavailable.
    """
    try:
        name = key_of(headers)
    except MalformedSignature as error:
        return Check(SIGNATURE, FAIL, str(error))
    if domain is None:
        return Check(SIGNATURE, NONE, "the message is anonymous")
    if name is None:
        return Check(SIGNATURE, NONE, "the notification is not signed")
    if name.domain != domain:
        return Check(SIGNATURE, FAIL, f"it is signed by {name.domain}, and From is of {domain}")
    try:
        _verify(name, headers, body, target=target, discovery=discovery, now=now)
    except (BadDomain, SignatureInvalid) as error:
        return Check(SIGNATURE, FAIL, str(error))
    return Check(SIGNATURE, PASS, f"signed by {domain} with the key {name.selector}")


def _verify(
    name: KeyName,
    headers: Mapping[str, str],
    body: bytes,
    *,
    target: str,
    discovery: Discovery,
    now: float,
) -> None:
    """Verifies with the key that the DNS tells, and once more with what it tells afresh."""
    for fresh in (False, True):
        try:
            key = discovery.key(name, fresh=fresh)
            if key is None:
                raise SignatureInvalid(f"the key {name} is revoked")
            verify_request(url=target, headers=headers, body=body, public_key=key, now=now)
        except (BadDomain, SignatureInvalid):
            if fresh:
                raise
        else:
            return
