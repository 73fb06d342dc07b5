"""E-mail backends: Django's ``send_mail()`` by XHMTP, unchanged.

EMAIL_BACKEND = "xhmtp_wsgi.django.mail.EmailBackend"        # all by XHMTP
EMAIL_BACKEND = "xhmtp_wsgi.django.mail.MixedEmailBackend"   # by XHMTP where the domain has it

The mixed one hands the rest to XHMTP_OTHER_EMAIL_BACKEND, by default Django's SMTP.
"""

import logging
import re
from collections.abc import Sequence
from copy import copy
from email.utils import formatdate, make_msgid, parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import DNS_NAME, get_connection
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
        recipients = message.recipients()
        return bool(recipients) and self._submit(agent, message, recipients)

    def _submit(self, agent: Agent, message: EmailMessage, recipients: Sequence[str]) -> bool:
        # Django writes the line ends of this system, or of whatever is in the text.
        octets = re.sub(rb"\r\n|\r|\n", b"\r\n", message.message().as_bytes())
        try:
            middleware.submit(agent, octets, recipients=[_address(one) for one in recipients])
        except XHMTPError as error:
            if not self.fail_silently:
                raise
            logger.warning("a message was not sent: %s", error)
            return False
        return True


class MixedEmailBackend(EmailBackend):
    """By XHMTP to the recipients whose domain has it, by another backend to the others.

    Where the DNS does not tell, or From is not of a domain of the agent's, the other one is taken:
    it has a queue of its own, and was the way before. A message to both kinds is sent twice, each
    time to its own recipients alone, with one Message-ID.
    """

    def __init__(self, fail_silently: bool = False, **options: Any) -> None:
        super().__init__(fail_silently=fail_silently)
        self._other = get_connection(
            getattr(settings, "XHMTP_OTHER_EMAIL_BACKEND", SMTP),
            fail_silently=fail_silently,
            **options,
        )

    def _send(self, agent: Agent, message: EmailMessage) -> bool:
        recipients = message.recipients()
        from_us = _is_of(agent, message.extra_headers.get("From", message.from_email))
        ours = [one for one in recipients if from_us and _has_xhmtp(agent, one)]
        others = [one for one in recipients if one not in ours]
        if not others:
            return super()._send(agent, message)
        if not ours:
            return bool(self._other.send_messages([message]))
        whole = _with_identity(message)
        # The other one first: where it fails, nothing was sent, and all may be sent again.
        sent = bool(self._other.send_messages([_for_some(whole, others)]))
        return self._submit(agent, whole, ours) or sent


def _with_identity(message: EmailMessage) -> EmailMessage:
    """The same message, which is given its Message-ID and Date here and not anew each time."""
    headers = dict(message.extra_headers)
    named = {name.lower() for name in headers}
    if "message-id" not in named:
        headers["Message-ID"] = make_msgid(domain=DNS_NAME)
    if "date" not in named:
        headers["Date"] = formatdate(localtime=settings.EMAIL_USE_LOCALTIME)
    whole = copy(message)
    whole.extra_headers = headers
    return whole


def _for_some(whole: EmailMessage, recipients: Sequence[str]) -> EmailMessage:
    """The same message to some of its recipients; its header names all, as it did."""
    part = copy(whole)
    for name in ("to", "cc", "bcc"):
        setattr(part, name, [one for one in getattr(whole, name) if one in recipients])
    part.message = whole.message
    return part


def _is_of(agent: Agent, address: str) -> bool:
    try:
        return agent.accounts.acts_for(Endpoint.parse(_address(address)).domain)
    except MalformedAddress:
        return False


def _has_xhmtp(agent: Agent, recipient: str) -> bool:
    try:
        endpoint = Endpoint.parse(_address(recipient))
        if agent.accounts.acts_for(endpoint.domain):
            # A name of our own domain that is no user's may be one of its mail server's.
            return agent.addressing.resolve(endpoint) is not None
        return bool(agent.discovery.agents(endpoint.domain))
    except (MalformedAddress, NoService, BadDomain):
        return False
    except DNSUnavailable as error:
        logger.warning("sent without XHMTP: %s", error)
        return False


def _address(recipient: str) -> str:
    """The address alone, of ``Bob <bob@b.example>``."""
    return parseaddr(str(recipient))[1] or str(recipient)
