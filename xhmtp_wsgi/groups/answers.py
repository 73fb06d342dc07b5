"""What people are told by a group itself: that they are in it, or not any more, and the like.

Each is a message from the group, told like any other, and marked as an automatic answer (RFC 3834).
Nobody is told what becomes of it. The same answer to the same request is sent once.
"""

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.group_register import Group
from xhmtp_wsgi.groups.list_header import list_fields
from xhmtp_wsgi.protocol.encoded_fields import mailboxes_field, text_field, tokens_field
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.mailbox_list import Mailbox
from xhmtp_wsgi.sender.injection import submit_for_group


def answer(
    agent: Agent,
    group: Group,
    recipient: Endpoint,
    subject: str,
    text: str,
    *,
    name: str,
    to: str | None,
) -> int:
    """Tells somebody something; returns how many messages were made: 1, or 0 the second time.

    ``name``: what this answer, and no other, is called; ``to``: the Message-ID that it answers.
    """
    answered = [tokens_field(field, [to]) for field in ("In-Reply-To", "References") if to]
    header = (
        mailboxes_field("From", [Mailbox(group.title, group.endpoint)]),
        mailboxes_field("To", [Mailbox("", recipient)]),
        text_field("Subject", subject),
        tokens_field("Message-ID", [f"<{name}@{group.endpoint.domain}>"]),
        *answered,
        *list_fields(group),
        b"Auto-Submitted: auto-replied\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n",
    )
    body = text.replace("\n", "\r\n").encode("utf-8")
    made = submit_for_group(
        agent, [b"".join(header), body], group.endpoint, [recipient], is_report=True
    )
    return int(made.is_new)
