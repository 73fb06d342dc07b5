"""What goes over the wire, as JSON Schema: the same schemas check it and describe it."""

from xhmtp_wsgi.passwords import MAX_PASSWORD
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.recipient.filters import MAX_PATTERN, Action
from xhmtp_wsgi.rest.operation import Schema
from xhmtp_wsgi.sender.drafts import MOST_TEXT
from xhmtp_wsgi.sender.sealing import Policy

IDENTIFIER = r"^[A-Za-z0-9_-]{1,64}$"
MOST_AT_ONCE = 200  # items of one answer
MOST_POSITION = (1 << 53) - 1  # what every program can count to


def reference(name: str) -> Schema:
    """A schema that is named in the description."""
    return {"$ref": f"#/components/schemas/{name}"}


def of_many(name: str, **more: Schema) -> Schema:
    """Several of them, and where to go on."""
    return strict({"items": {"type": "array", "items": reference(name)}, **more}, optional=[*more])


def strict(properties: dict[str, Schema], optional: list[str] | None = None) -> Schema:
    """An object with these properties and no others; all are there but the optional ones."""
    left_out = set(optional or ())
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in left_out],
        "additionalProperties": False,
    }


TEXT: Schema = {"type": "string"}
# "not", as "$" also stands before a last line end in some languages, Python among them.
LINE: Schema = {
    "type": "string",
    "maxLength": 2000,
    "not": {"pattern": "[\\x00-\\x08\\x0a-\\x1f\\x7f]"},
}
TIME: Schema = {"type": "string", "format": "date-time"}
PERHAPS_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
PERHAPS_TEXT: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
ADDRESSES: Schema = {
    "type": "array",
    "maxItems": 10_000,
    "items": {"type": "string", "minLength": 3, "maxLength": 254},
}
FOLDER: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 60,
    "not": {"pattern": "[\\x00-\\x1f\\x7f/]|^\\s|\\s$"},
}

LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_AT_ONCE, "default": 50}
BEFORE: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_POSITION}

CHECK = strict({"name": TEXT, "result": {"enum": ["pass", "fail", "none"]}, "reason": TEXT})
MESSAGE = strict(
    {
        "id": TEXT,
        "position": {"type": "integer"},
        "folder": TEXT,
        "received": TIME,
        "from": PERHAPS_TEXT,
        "to": PERHAPS_TEXT,
        "cc": PERHAPS_TEXT,
        "subject": PERHAPS_TEXT,
        "date": PERHAPS_TEXT,
        "message-id": PERHAPS_TEXT,
        "thread": PERHAPS_TEXT,
        "size": {"type": ["integer", "null"]},
        "digest": PERHAPS_TEXT,
        "seen": {"type": "boolean"},
        "starred": {"type": "boolean"},
        "kept": {"type": "boolean"},
        "sealed": {"type": "boolean"},
        "url": TEXT,
        "checks": {"type": "array", "items": reference("Check")},
    }
)
CHANGE: Schema = {
    **strict(
        {"seen": {"type": "boolean"}, "starred": {"type": "boolean"}, "folder": FOLDER},
        optional=["seen", "starred", "folder"],
    ),
    "minProperties": 1,
}
UNSEALING = strict({"password": {"type": "string", "minLength": 1, "maxLength": MAX_PASSWORD}})
FOLDERS = strict(
    {
        "name": TEXT,
        "unseen": COUNT,
        "more-unseen": {"type": "boolean"},
    }
)
MAILBOX = strict(
    {
        "address": TEXT,
        "version": COUNT,
        "last-position": COUNT,
        "folders": {"type": "array", "items": reference("Folder")},
    }
)
RECIPIENT = strict(
    {
        "address": TEXT,
        "state": {"enum": [state.value for state in State]},
        "sealed": PERHAPS_TEXT,
        "tries": COUNT,
        "next-try": PERHAPS_TIME,
        "last-try": PERHAPS_TIME,
        "last-status": {"type": ["integer", "null"]},
        "last-answer": PERHAPS_TEXT,
        "moved-to": PERHAPS_TEXT,
        "unvouched": PERHAPS_TEXT,
        "notified": PERHAPS_TIME,
        "fetched": PERHAPS_TIME,
    }
)
SENT = strict(
    {
        "id": TEXT,
        "message-id": TEXT,
        "subject": PERHAPS_TEXT,
        "thread": PERHAPS_TEXT,
        "size": COUNT,
        "digest": TEXT,
        "sent": TIME,
        "expires": TIME,
        "withdrawn": PERHAPS_TIME,
        "recipients": {"type": "array", "items": reference("Recipient")},
    }
)
NEW_MESSAGE = strict(
    {
        "to": ADDRESSES,
        "cc": ADDRESSES,
        "bcc": ADDRESSES,
        "subject": LINE,
        "text": {"type": "string", "maxLength": MOST_TEXT},
        "in-reply-to": LINE,
        "references": LINE,
        "message-id": {
            "type": "string",
            "maxLength": 250,
            "pattern": "^<[!-;=?-~]+>$",
            "not": {"pattern": "\\s"},
        },
        "seal": {"enum": [policy.value for policy in Policy]},
        "show-subject": {"type": "boolean"},
        "accept-new-keys": {"type": "boolean"},
    },
    optional=[
        "to", "cc", "bcc", "subject", "text", "in-reply-to", "references", "message-id",
        "seal", "show-subject", "accept-new-keys",
    ],
)  # fmt: skip
PLAN = strict(
    {
        "policy": {"enum": [policy.value for policy in Policy]},
        "recipients": {
            "type": "array",
            "items": strict(
                {
                    "address": TEXT,
                    "sealed": PERHAPS_TEXT,
                    "refused": PERHAPS_TEXT,
                    "in-clear": PERHAPS_TEXT,
                    "keys": {"type": "array", "items": TEXT},
                    "first-seen": {"type": "boolean"},
                    "changed": PERHAPS_TEXT,
                }
            ),
        },
    }
)
DRAFT_FIELDS = strict(
    {
        "to": LINE,
        "cc": LINE,
        "bcc": LINE,
        "subject": LINE,
        "text": {"type": "string", "maxLength": MOST_TEXT},
        "in-reply-to": LINE,
        "references": LINE,
    },
    optional=["to", "cc", "bcc", "subject", "text", "in-reply-to", "references"],
)
DRAFT = strict(
    {
        "id": TEXT,
        "changed": TIME,
        "sealed": {"type": "boolean"},
        **dict.fromkeys(("to", "cc", "bcc", "subject", "text", "in-reply-to", "references"), TEXT),
        "attachments": {
            "type": "array",
            "items": strict({"id": TEXT, "name": TEXT, "type": TEXT, "size": COUNT}),
        },
    }
)
TOKEN = strict({"id": COUNT, "label": TEXT, "made": TIME})
NEW_TOKEN = strict({"label": {**LINE, "minLength": 1, "maxLength": 100}})
MADE_TOKEN = strict({"token": TEXT, "feed": TEXT})
FILTER = strict(
    {
        "id": COUNT,
        "action": {"enum": [action.value for action in Action]},
        "who": TEXT,
        "header": PERHAPS_TEXT,
        "pattern": PERHAPS_TEXT,
    }
)
NEW_FILTER = strict(
    {
        "action": {"enum": [action.value for action in Action]},
        "who": {"type": "string", "minLength": 1, "maxLength": 254},
        "header": {"type": "string", "pattern": "^[!-9;-~]{1,76}$", "not": {"pattern": "\\s"}},
        "pattern": {"type": "string", "minLength": 1, "maxLength": MAX_PATTERN},
        "first": {"type": "boolean"},
    },
    optional=["header", "pattern", "first"],
)
HIT = strict({"kind": {"enum": ["notice", "sent"]}, "id": TEXT, "number": COUNT})
PROBLEM: Schema = {
    "type": "object",
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "recipients": {"type": "object", "additionalProperties": TEXT},
    },
    "required": ["type", "title", "status"],
}

COMPONENTS: dict[str, Schema] = {
    "Check": CHECK,
    "Message": MESSAGE,
    "Change": CHANGE,
    "Unsealing": UNSEALING,
    "Folder": FOLDERS,
    "Mailbox": MAILBOX,
    "Recipient": RECIPIENT,
    "Sent": SENT,
    "NewMessage": NEW_MESSAGE,
    "Plan": PLAN,
    "DraftFields": DRAFT_FIELDS,
    "Draft": DRAFT,
    "Token": TOKEN,
    "NewToken": NEW_TOKEN,
    "MadeToken": MADE_TOKEN,
    "Filter": FILTER,
    "NewFilter": NEW_FILTER,
    "Hit": HIT,
    "Problem": PROBLEM,
}
