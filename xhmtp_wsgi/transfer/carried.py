"""Which tables an export carries, and which it leaves behind, and why: every table is one of them.

A test holds that, so that nobody who adds a table or a column forgets what becomes of it in a move.
"""

from xhmtp_wsgi.recipient.held_transfer import EXTRACT, HELD_KEY
from xhmtp_wsgi.recipient.inbox_transfer import MAILBOX, NOTICE
from xhmtp_wsgi.recipient.kept_transfer import COPY
from xhmtp_wsgi.recipient.trust_transfer import KNOWN_AUTHOR, RULE
from xhmtp_wsgi.sender.drafts_transfer import ATTACHMENT, DRAFT
from xhmtp_wsgi.sender.outbox_transfer import MESSAGE, RECIPIENT, REPRESENTATION
from xhmtp_wsgi.sender.sealing_transfer import KNOWN_SEALING_KEY, OPENPGP_KEY, SEALING_KEY
from xhmtp_wsgi.sender.trust_transfer import AUTHOR_KEY, TLS_DOMAIN
from xhmtp_wsgi.transfer.account_records import ACCOUNT, PREFERENCE, SIGNING_KEY, TOKEN
from xhmtp_wsgi.transfer.addressing_records import ALIAS, GROUP, MEMBER

CARRIED = (
    ACCOUNT,
    TOKEN,
    PREFERENCE,
    SIGNING_KEY,
    ALIAS,
    GROUP,
    MEMBER,
    MESSAGE,
    REPRESENTATION,
    RECIPIENT,
    AUTHOR_KEY,
    SEALING_KEY,
    OPENPGP_KEY,
    KNOWN_SEALING_KEY,
    HELD_KEY,
    TLS_DOMAIN,
    MAILBOX,
    NOTICE,
    COPY,
    EXTRACT,
    DRAFT,
    ATTACHMENT,
    RULE,
    KNOWN_AUTHOR,
)

LEFT_BEHIND = {
    "message_piece": "the octets, which are the files of the Maildir `sent` and of `sealed`",
    "kept_piece": "the octets of kept copies, files of the Maildir `mailbox` and of `sealed`",
    "fetched_keys": "keys of others, good for an hour: their agents are asked anew",
    "search_entry": "what is found by words is found out anew",
    "group_work": "when a group tries again to pass on what waits in its mailbox: at once",
    "web_session": "whoever was logged in logs in again",
    "sender_usage": "counted anew",
    "destination": "which destinations fail is found out anew",
    "vouched_target": "good for an hour",
    "known_prefix": "the DNS tells it",
    "bucket": "how much came in the last minutes, and who guessed passwords",
    "counter": "the figures of this host",
    "self_test": "invitations of `xhmtp check`, good for minutes",
}
