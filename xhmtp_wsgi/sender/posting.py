"""Posting: sends notifications to an agent that was found, signed by their author's domain.

Whether the agent may be believed at all is target_trust.py's; here it is asked.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import (
    AddressRefused,
    ConnectionFailed,
    DeadlineExceeded,
    DNSUnavailable,
    Permanent,
    Unvouched,
    XHMTPError,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.notification import FORM
from xhmtp_wsgi.protocol.request_signer import RequestSigner
from xhmtp_wsgi.routes import message_path
from xhmtp_wsgi.sender.judging import UNAVAILABLE, Answered
from xhmtp_wsgi.sender.letters import Letter
from xhmtp_wsgi.sender.queue import Claim
from xhmtp_wsgi.sender.target_trust import TargetTrust
from xhmtp_wsgi.sender.ways import Ways
from xhmtp_wsgi.signing_keys import Signer

logger = logging.getLogger(__name__)


class Poster:
    """Posts what one pass tells; safe to be used by several threads."""

    def __init__(self, agent: Agent, ways: Ways) -> None:
        self._agent = agent
        self._ways = ways
        self._signers: dict[Signer, RequestSigner] = {}
        self._trust = TargetTrust(
            agent.database, agent.network, agent.clock, agent.settings.tls_remembered_for
        )

    def ask_in_turn(
        self,
        domain: str,
        targets: Sequence[AgentTarget],
        letter: Letter,
        ask: Callable[[AgentTarget], Answered],
    ) -> Answered:
        """What the first of a domain's agents says that may be believed, and has something to say.

        Where all that answer are not available, what the first of these said. Raises what ``ask``
        or ``trusted`` did, where none has answered: what may pass rather than what will not.
        """
        failure: XHMTPError | None = None
        unavailable: Answered | None = None
        for target in targets:
            try:
                unvouched = self.trusted(domain, target, letter)
                answered = replace(ask(target), unvouched=unvouched)
                self._trust.note_tls(domain, target)
                if answered.answer.status not in UNAVAILABLE:
                    return answered
                unavailable = unavailable or answered
            except (ConnectionFailed, DNSUnavailable, AddressRefused) as error:
                logger.info("%s of %s does not answer: %s", target.host, domain, error)
                if failure is None or isinstance(failure, Permanent):
                    failure = error
        if unavailable is not None:
            return unavailable
        assert failure is not None  # noqa: S101 - agents() returns at least one target
        raise failure

    def trusted(self, domain: str, target: AgentTarget, letter: Letter) -> str | None:
        """None, or the host that the DNS alone vouches for. Raises Downgrade or Unvouched."""
        self.require_tls(domain, target)
        if self._trust.is_vouched(domain, target):
            return None
        policy = self._agent.settings.domains[letter.sender.domain].unvouched
        if policy == "wait" or (policy == "sealed" and not letter.is_sealed):
            raise Unvouched(f"nothing but the DNS says that {target.host} acts for {domain}")
        return target.host

    def require_tls(self, domain: str, target: AgentTarget) -> None:
        """Raises Downgrade for a target in clear of a domain that had TLS."""
        self._trust.require_tls(domain, target)

    def url_of(self, claim: Claim, letter: Letter, recipient: Endpoint) -> MessageURL:
        """The URL of a message for one recipient. Raises OwnDomainInError, or Transient."""
        own = self._ways.own(letter.sender.domain)
        return MessageURL(
            scheme=own.url.scheme,
            host=own.url.host,
            port=own.url.port,
            recipient=recipient,
            code=claim.code,
            path=message_path(own.prefix, letter.path_name, claim.message),
        )

    def post(
        self, target: AgentTarget, path: str, body: bytes, letter: Letter, end: float
    ) -> HTTPAnswer:
        """POSTs a form; ``letter``: one of those that it tells of, all by authors of one domain.

        ``end``: when the try is over, by the agent's monotonic clock. Raises what Network does.
        """
        left = end - self._agent.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{target.host} did not answer in time")
        headers = {"Content-Type": FORM}
        if not letter.is_anonymous:
            headers |= self._signature(letter.sender.domain, body)
        own = self._ways.own(letter.sender.domain)
        return self._agent.network.post(
            target, path, body, headers, source_host=own.url.host, within=left
        )

    def _signature(self, domain: str, body: bytes) -> dict[str, str]:
        """The header fields that sign it; none where the domain has no key that can."""
        key = self._agent.signing_keys.signer(domain)
        if key is None:
            return {}
        signer = self._signers.get(key)
        if signer is None:
            signer = self._signers[key] = RequestSigner(key.seed, key.name, FORM)
        return signer.sign(body, self._agent.clock())
