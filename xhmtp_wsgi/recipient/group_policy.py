"""Who may write to a group, and who may ask to come or to go (docs/addresses.md).

Decided when a notification comes, so that its sender is told at once and nobody owes him a message.

Security: an address counts as its author's only where the notification comes from an agent of its
domain, as for filters: anybody can write a From.
"""

from xhmtp_wsgi import group_register
from xhmtp_wsgi.addressing import Destination
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Forbidden
from xhmtp_wsgi.group_register import Group, Joining, Writers
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.notification import Notification
from xhmtp_wsgi.protocol.sealed_message import is_sealed_type
from xhmtp_wsgi.recipient.authorship import AGENT, SIGNATURE
from xhmtp_wsgi.recipient.origin import ORIGIN
from xhmtp_wsgi.recipient.policy import Checks

REPORTER = "postmaster"
"""Who tells a domain's senders, and so its groups, what was not delivered."""


def admit(
    database: Database, destination: Destination, notification: Notification, checks: Checks
) -> bool:
    """Is it to be taken? False for what no group passes on, of which nobody need be told.

    Raises Forbidden for whoever may not write there, DNSUnavailable where the DNS does not tell
    just now whether he is the one he says, or NotFound where the group went a moment ago.
    """
    group = group_register.the_group(database, destination.endpoint)
    fields = notification.values
    if f"<{group.list_id}>" in fields.get("list-id", "").lower():
        raise Forbidden(f"this message has been through {group.endpoint} already")
    if is_sealed_type(fields.get("content-type", "")):
        raise Forbidden(
            f"{group.endpoint} passes on nothing that is sealed: no key of its opens it"
        )
    author = _vouched_author(notification, checks)
    if author is not None and is_report(group, author):
        return not destination.request
    if fields.get("auto-submitted", "").lower().startswith("auto-replied"):
        return False
    if destination.request:
        _require_request(database, group, destination.request, author)
    else:
        _require_writer(database, group, author)
    return True


def is_report(group: Group, author: Endpoint) -> bool:
    """Is it what our own agent tells of the group's own messages?"""
    return author == Endpoint(REPORTER, group.endpoint.domain)


def is_vouched(passed: frozenset[str]) -> bool:
    """Do checks of these names say that the author is the one in From?"""
    return AGENT in passed and (ORIGIN in passed or SIGNATURE in passed)


def _vouched_author(notification: Notification, checks: Checks) -> Endpoint | None:
    if notification.author is None:
        return None
    if is_vouched(frozenset(name for name in (AGENT, ORIGIN, SIGNATURE) if checks.passed(name))):
        return notification.author.canonical
    if AGENT in checks.unknown:
        raise checks.unknown[AGENT]
    return None


def _require_request(
    database: Database, group: Group, request: str, author: Endpoint | None
) -> None:
    if author is None:
        raise Forbidden(f"nothing vouches for who it is that wants to {request}")
    if request == "join" and group.joining is Joining.OWNERS:
        found = group_register.member(database, group, author)
        if found is None or not found.is_owner:
            raise Forbidden(f"only its owners let people into {group.endpoint}")


def _require_writer(database: Database, group: Group, author: Endpoint | None) -> None:
    if group.writers is Writers.ANYBODY:
        return
    found = None if author is None else group_register.member(database, group, author)
    if found is None or (group.writers is Writers.OWNERS and not found.is_owner):
        raise Forbidden(f"only {group.writers} may write to {group.endpoint}")
