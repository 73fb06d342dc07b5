"""Groups: what is written to team@A goes to everybody who is in it (docs/addresses.md).

recipient/receiver takes a notification for a group into the group's own mailbox, as group_policy
lets it; the notifier's pass, and never a web process, then works on what is there: work →
passing_on (with list_header) for a message, requests for who comes or goes, answers for what people
are told. It stands above both wings, as a group is a recipient and a sender.
"""

from xhmtp_wsgi.groups.work import work_through

__all__ = ["work_through"]
