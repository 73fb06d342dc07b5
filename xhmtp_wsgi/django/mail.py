"""E-mail backends: Django's ``send_mail()`` by XHMTP, unchanged.

EMAIL_BACKEND = "xhmtp_wsgi.django.mail.EmailBackend"        # all by XHMTP
EMAIL_BACKEND = "xhmtp_wsgi.django.mail.MixedEmailBackend"   # by XHMTP where the domain has it

The mixed one hands the rest to XHMTP_OTHER_EMAIL_BACKEND, by default Django's SMTP.
"""

import logging
from collections.abc import Sequence
from copy import copy
from typing import Any

from django.conf import settings
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.message import EmailMessage

from xhmtp_wsgi import middleware
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.django import the_agent
from xhmtp_wsgi.errors import BadDomain, DNSUnavailable, MalformedAddress, NoService, XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint

logger = logging.getLogger(__name__)

SMTP = "django.core.mail.backends.smtp.EmailBackend"


class EmailBackend(BaseEmailBackend):
    """Hands every message in to the project's agent. From must be an address of a domain of its."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Hands them in; returns how many. Raises XHMTPError unless ``fail_silently``."""
        agent = the_agent()
        return sum(self._send(agent, message) for message in email_messages)

    def _send(self, agent: Agent, message: EmailMessage) -> bool:
        recipients = [_address(one) for one in message.recipients()]
        return bool(recipients) and self._submit(agent, message, recipients)

    def _submit(self, agent: Agent, message: EmailMessage, recipients: list[str]) -> bool:
        octets = message.message().as_bytes(linesep="\r\n")
        try:
            middleware.submit(agent, octets, recipients=recipients)
        except XHMTPError as error:
            if not self.fail_silently:
                raise
            logger.warning("a message was not sent: %s", error)
            return False
        return True


class MixedEmailBackend(EmailBackend):
    """By XHMTP to the recipients whose domain has it, by another backend to the others.

    Where the DNS does not tell, the other one is taken: it has a queue of its own, and was the way
    before. A message to both kinds is sent twice, each time to its own recipients alone.
    """

    def __init__(self, fail_silently: bool = False, **options: Any) -> None:
        super().__init__(fail_silently=fail_silently)
        self._other = get_connection(
            getattr(settings, "XHMTP_OTHER_EMAIL_BACKEND", SMTP), fail_silently, **options
        )

    def _send(self, agent: Agent, message: EmailMessage) -> bool:
        ours: list[str] = []
        others: list[str] = []
        for one in message.recipients():
            (ours if _has_xhmtp(agent, one) else others).append(one)
        if not others:
            return super()._send(agent, message)
        rest = copy(message)
        # All that is asked of a backend is whom recipients() names; the header stays as it is.
        rest.recipients = lambda: others
        sent = bool(self._other.send_messages([rest]))
        if ours:
            sent = self._submit(agent, message, [_address(one) for one in ours]) or sent
        return sent


def _has_xhmtp(agent: Agent, recipient: str) -> bool:
    try:
        domain = Endpoint.parse(_address(recipient)).domain
        return agent.accounts.acts_for(domain) or bool(agent.discovery.agents(domain))
    except (MalformedAddress, NoService, BadDomain):
        return False
    except DNSUnavailable as error:
        logger.warning("sent without XHMTP: %s", error)
        return False


def _address(recipient: str) -> str:
    """The address alone, of ``Bob <bob@b.example>``."""
    from email.utils import parseaddr

    return parseaddr(recipient)[1] or recipient
