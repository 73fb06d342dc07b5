"""The keys that an address of another domain publishes, asked of its agent (protocol, section 11).

Both wings use it: a sender for keys to seal to, a reader for those that an author signs with. A
list is signed by the domain with a key that the DNS tells, and its first line says whose it is.

Security: a list that bears a signature must verify, whoever asks. One without any is handed on as
such (``signed_by`` is None), since older agents sign none: nobody may seal to what it names. At
most MOST octets are read, no redirect is followed, and one deadline holds for all of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.discovery import MAX_TARGETS_TRIED, AgentTarget
from xhmtp_wsgi.errors import (
    BadDomain,
    ConnectionFailed,
    DeadlineExceeded,
    Forbidden,
    NotFound,
    SignatureInvalid,
    TooLarge,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.published_keys import KeyList
from xhmtp_wsgi.protocol.response_signature import key_of_response, verify_response
from xhmtp_wsgi.protocol.sealing import Recipient
from xhmtp_wsgi.protocol.signature import KeyName
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.routes import keys_path

MOST = 256 << 10  # octets of a list
GOOD_FOR = 3600.0  # seconds for which a list may be kept, at most
EMPTY_GOOD_FOR = 300.0  # seconds, where no key to seal to is in it: one may come soon
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """What an address publishes. ``good_until``: seconds since the epoch; nobody may use it later.

    ``signed_by``: the key that vouches for it; None where nothing does.
    """

    endpoint: Endpoint
    signing: tuple[PublicKey, ...]
    sealing: tuple[Recipient, ...]
    signed_by: KeyName | None
    good_until: float


def look_up(agent: Agent, endpoint: Endpoint, within: float) -> FoundKeys:
    """Asks the agent of another domain; ``within`` so many seconds.

    Raises SignatureInvalid or MalformedSignature (changed on the way, expired, signed by another),
    Forbidden (the list is somebody else's), TooLarge, NotFound, NoService, BadDomain,
    AddressRefused, or a Transient error.
    """
    answer = _fetch(agent, endpoint, agent.monotonic() + within)
    name = key_of_response(answer.headers)
    now = agent.clock()
    expires = now + GOOD_FOR
    if name is not None:
        if name.domain != endpoint.domain:
            raise SignatureInvalid(
                f"the keys of {endpoint} are signed by {name.domain}, and not by {endpoint.domain}"
            )
        expires = _verified(agent, name, answer)
    found = KeyList.parse(answer.body)
    if found.owner != endpoint and (name is not None or found.owner is not None):
        whose = "nobody's" if found.owner is None else f"those of {found.owner}"
        raise Forbidden(f"asked for the keys of {endpoint}, its agent sent {whose}")
    kept_for = _kept_for(answer.headers, GOOD_FOR if found.sealing else EMPTY_GOOD_FOR)
    return FoundKeys(endpoint, found.signing, found.sealing, name, min(expires, now + kept_for))


def _fetch(agent: Agent, endpoint: Endpoint, end: float) -> HTTPAnswer:
    """The answer of the first agent of the domain that takes the connection."""
    path = keys_path(agent.discovery.prefix(endpoint.domain), endpoint)
    targets = agent.discovery.agents(endpoint.domain)[:MAX_TARGETS_TRIED]
    for target in targets[:-1]:
        try:
            return _ask(agent, target, path, endpoint, end)
        except DeadlineExceeded:
            raise
        except ConnectionFailed:
            continue
    return _ask(agent, targets[-1], path, endpoint, end)


def _ask(
    agent: Agent, target: AgentTarget, path: str, endpoint: Endpoint, end: float
) -> HTTPAnswer:
    left = end - agent.monotonic()
    if left <= 0:
        raise DeadlineExceeded(f"{target.host} did not answer in time")
    answer = agent.network.get(target, path, {"Accept": "text/plain"}, within=left, most=MOST)
    if answer.status == 429 or answer.status >= 500:
        raise ConnectionFailed(f"{target.host} answered {answer.status}")
    if 300 <= answer.status < 400:
        raise NotFound(f"{target.host} leads elsewhere ({answer.status}), which is not followed")
    if answer.status != 200:
        raise NotFound(f"{target.host} publishes no keys: it answered {answer.status}")
    if answer.truncated:
        raise TooLarge(f"the list of keys of {endpoint}", MOST)
    return answer


def _verified(agent: Agent, name: KeyName, answer: HTTPAnswer) -> float:
    """When the signature expires; verified with what the DNS tells, and once more afresh.

    Raises SignatureInvalid, BadDomain or DNSUnavailable.
    """
    try:
        return _verified_once(agent, name, answer, fresh=False)
    except (BadDomain, SignatureInvalid):
        return _verified_once(agent, name, answer, fresh=True)


def _verified_once(agent: Agent, name: KeyName, answer: HTTPAnswer, *, fresh: bool) -> float:
    key = agent.discovery.key(name, fresh=fresh)
    if key is None:
        raise SignatureInvalid(f"the keys are signed with {name}, which is revoked")
    return verify_response(
        status=answer.status,
        headers=answer.headers,
        body=answer.body,
        public_key=key,
        now=agent.clock(),
    )


def _kept_for(headers: Mapping[str, str], most: float) -> float:
    """For how many seconds an answer may be kept (RFC 9111), at most so many."""
    given = [part.strip().lower() for part in headers.get("cache-control", "").split(",")]
    if "no-store" in given or "no-cache" in given:
        return 0.0
    left = most
    for part in given:
        if part.startswith("max-age="):
            left = min(left, _seconds(part.removeprefix("max-age=").strip('"')))
    return max(left - _seconds(headers.get("age", "")), 0.0)


def _seconds(text: str) -> float:
    return float(text) if _SECONDS.fullmatch(text.strip()) else 0.0
