"""Drafts: messages that alice has begun, with what she attached; kept until sent or thrown away.

A draft that answers a sealed message quotes it, so it is kept in boxes (secret_box), which a key
opens that she has unlocked: no word of it is in the database, nor what it answers.

Security: every statement here names the draft's owner beside its identifier. A sealed draft stays
sealed, whoever saves it.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import (
    Column,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)
from sqlalchemy import delete as delete_from

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import NotFound, TooLarge
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.secret_box import OVERHEAD, Locked, SecretBox, opened_by_any

MOST_TEXT = 1 << 20  # characters of a draft's text
MOST_ATTACHED = 64 << 20  # octets of all that is attached to one draft
MOST_NAME = 255  # characters
MOST_SEALED_NAME = 4096  # characters of a name and a type in their box
BOX = "box"
"""The one field of a sealed draft: all others, in a box, as base64."""
SEALED_TYPE = "application/octet-stream"

drafts = Table(
    "draft",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("fields", Text, nullable=False),
    Column("changed_at", Double, nullable=False),
    Index("ix_draft_owner", "owner", "changed_at"),
)
draft_attachments = Table(
    "draft_attachment",
    metadata,
    Column("id", Text, primary_key=True),
    Column("draft", ForeignKey("draft.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("octets", LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class DraftFields:
    """What stands in a draft, as it was typed: nothing of it need be right yet."""

    to: str = ""
    cc: str = ""
    bcc: str = ""
    subject: str = ""
    text: str = ""
    in_reply_to: str = ""
    references: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What is attached, without its octets; ``size``: how many they are.

    ``boxes``: what opens them, where the draft is sealed.
    """

    identifier: str
    name: str
    type: str
    size: int
    boxes: tuple[SecretBox, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it is kept; ``changed_at``: seconds since the epoch.

    ``sealed``: it answers a sealed message; ``locked``: nothing is told of it here.
    """

    identifier: str
    fields: DraftFields
    changed_at: float
    attachments: tuple[Attachment, ...] = ()
    sealed: bool = False
    locked: bool = False


def save(
    database: Database,
    owner: Endpoint,
    fields: DraftFields,
    now: float,
    identifier: str = "",
    *,
    boxes: Sequence[SecretBox] = (),
    sealed: bool = False,
) -> str:
    """Keeps a draft, a new one or in place of one that is there; returns its identifier.

    ``sealed``: in a box that the first of ``boxes`` opens; so is one that was sealed before. Raises
    NotFound, TooLarge above MOST_TEXT, or Locked where it must be sealed and there is no box.
    """
    if sum(map(len, asdict(fields).values())) > MOST_TEXT:
        raise TooLarge("the draft", MOST_TEXT)
    with database.transaction() as connection:
        his = drafts.c.id == identifier, drafts.c.owner == str(owner.canonical)
        before = connection.execute(select(drafts.c.fields).where(*his)).scalar()
        if identifier and before is None:
            raise NotFound("there is no such draft")
        named = identifier or new_identifier()
        if sealed or (before is not None and BOX in json.loads(before)):
            text = _sealed_fields(fields, named, boxes)
        else:
            text = json.dumps(asdict(fields))
        values = {"fields": text, "changed_at": now}
        if identifier:
            connection.execute(update(drafts).where(*his).values(**values))
        else:
            connection.execute(
                insert(drafts).values(id=named, owner=str(owner.canonical), **values)
            )
    return named


def find(
    database: Database, owner: Endpoint, identifier: str, boxes: Sequence[SecretBox] = ()
) -> Draft:
    """One draft, with the names of what is attached.

    Raises NotFound, or Locked for a sealed one that none of these boxes opens.
    """
    with database.reading() as connection:
        row = connection.execute(
            select(drafts).where(drafts.c.id == identifier, drafts.c.owner == str(owner.canonical))
        ).one_or_none()
        if row is None:
            raise NotFound("there is no such draft")
        attached = connection.execute(
            select(
                draft_attachments.c.id,
                draft_attachments.c.name,
                draft_attachments.c.type,
                func.length(draft_attachments.c.octets).label("size"),
            ).where(draft_attachments.c.draft == identifier)
        ).all()
    draft = _draft(row.id, row.fields, row.changed_at, boxes)
    if draft.locked:
        raise Locked("the draft answers a sealed message, and is locked")
    attachments = [_attachment(row, boxes if draft.sealed else ()) for row in attached]
    attachments.sort(key=lambda one: (one.name, one.identifier))
    return replace(draft, attachments=tuple(attachments))


def listed(
    database: Database, owner: Endpoint, limit: int = 200, boxes: Sequence[SecretBox] = ()
) -> list[Draft]:
    """An owner's drafts, those changed last first, without what is attached.

    Of sealed ones that none of these boxes opens nothing but that they are there.
    """
    with database.reading() as connection:
        found = connection.execute(
            select(drafts)
            .where(drafts.c.owner == str(owner.canonical))
            .order_by(drafts.c.changed_at.desc())
            .limit(limit)
        ).all()
    return [_draft(row.id, row.fields, row.changed_at, boxes) for row in found]


def delete(database: Database, owner: Endpoint, identifier: str) -> None:
    """Throws a draft away, with what is attached. Raises NotFound."""
    with database.transaction() as connection:
        gone = connection.execute(
            delete_from(drafts).where(
                drafts.c.id == identifier, drafts.c.owner == str(owner.canonical)
            )
        )
    if not gone.rowcount:
        raise NotFound("there is no such draft")


def attach(
    database: Database,
    owner: Endpoint,
    identifier: str,
    name: str,
    kind: str,
    octets: bytes,
    boxes: Sequence[SecretBox] = (),
) -> str:
    """Attaches something; returns its identifier. Raises NotFound, TooLarge, or Locked."""
    draft = find(database, owner, identifier, boxes)
    if sum(one.size for one in draft.attachments) + len(octets) > MOST_ATTACHED:
        raise TooLarge("what is attached", MOST_ATTACHED)
    attachment = new_identifier()
    name, kind = name[:MOST_NAME], kind[:MOST_NAME]
    if draft.sealed:
        known = json.dumps([name, kind]).encode()
        name = b64encode(boxes[0].closed(known, f"name of {attachment}")).decode()
        kind, octets = SEALED_TYPE, boxes[0].closed(octets, attachment)
    with database.transaction() as connection:
        connection.execute(
            insert(draft_attachments).values(
                id=attachment, draft=identifier, name=name, type=kind, octets=octets
            )
        )
    return attachment


def detach(database: Database, owner: Endpoint, identifier: str, attachment: str) -> None:
    """Takes something off again. Raises NotFound."""
    own = select(drafts.c.id).where(
        drafts.c.id == identifier, drafts.c.owner == str(owner.canonical)
    )
    with database.transaction() as connection:
        gone = connection.execute(
            delete_from(draft_attachments).where(
                draft_attachments.c.id == attachment, draft_attachments.c.draft.in_(own)
            )
        )
    if not gone.rowcount:
        raise NotFound("nothing such is attached")


def octets_of(database: Database, attachments: Sequence[Attachment]) -> dict[str, bytes]:
    """The octets of what is attached to a draft that was found, by identifier. Raises Locked."""
    with database.reading() as connection:
        found = connection.execute(
            select(draft_attachments.c.id, draft_attachments.c.octets).where(
                draft_attachments.c.id.in_([one.identifier for one in attachments])
            )
        ).all()
    boxes = {one.identifier: one.boxes for one in attachments}
    return {row.id: _octets(row.id, row.octets, boxes[row.id]) for row in found}


def _sealed_fields(fields: DraftFields, identifier: str, boxes: Sequence[SecretBox]) -> str:
    if not boxes:
        raise Locked("what you write answers a sealed message, and your keys are locked")
    closed = boxes[0].closed(json.dumps(asdict(fields)).encode(), identifier)
    return json.dumps({BOX: b64encode(closed).decode()})


def _draft(identifier: str, text: str, changed_at: float, boxes: Sequence[SecretBox]) -> Draft:
    fields = json.loads(text)
    if BOX not in fields:
        return Draft(identifier, DraftFields(**fields), changed_at)
    opened = opened_by_any(boxes, b64decode(fields[BOX]), identifier)
    found = DraftFields() if opened is None else DraftFields(**json.loads(opened))
    return Draft(identifier, found, changed_at, sealed=True, locked=opened is None)


def _attachment(row: Any, boxes: Sequence[SecretBox]) -> Attachment:
    """``boxes``: those of a sealed draft."""
    if not boxes:
        return Attachment(row.id, row.name, row.type, row.size)
    known = opened_by_any(boxes, b64decode(row.name), f"name of {row.id}")
    if known is None:
        raise Locked("what is attached is locked")
    name, kind = json.loads(known)
    return Attachment(row.id, name, kind, row.size - OVERHEAD, tuple(boxes))


def _octets(identifier: str, kept: bytes, boxes: Sequence[SecretBox]) -> bytes:
    opened = opened_by_any(boxes, kept, identifier) if boxes else kept
    if opened is None:
        raise Locked("what is attached is locked")
    return opened
