"""Drafts: messages that alice has begun, with what she attached; kept until sent or thrown away.

Security: every statement here names the draft's owner beside its identifier.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

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

MOST_TEXT = 1 << 20  # characters of a draft's text
MOST_ATTACHED = 64 << 20  # octets of all that is attached to one draft

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
    """What is attached, without its octets; ``size``: how many they are."""

    identifier: str
    name: str
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it is kept; ``changed_at``: seconds since the epoch."""

    identifier: str
    fields: DraftFields
    changed_at: float
    attachments: tuple[Attachment, ...] = ()


def save(
    database: Database, owner: Endpoint, fields: DraftFields, now: float, identifier: str = ""
) -> str:
    """Keeps a draft, a new one or in place of one that is there; returns its identifier.

    Raises NotFound, or TooLarge above MOST_TEXT.
    """
    if sum(map(len, asdict(fields).values())) > MOST_TEXT:
        raise TooLarge("the draft", MOST_TEXT)
    values = {"fields": json.dumps(asdict(fields)), "changed_at": now}
    with database.transaction() as connection:
        if not identifier:
            identifier = new_identifier()
            connection.execute(
                insert(drafts).values(id=identifier, owner=str(owner.canonical), **values)
            )
            return identifier
        changed = connection.execute(
            update(drafts)
            .where(drafts.c.id == identifier, drafts.c.owner == str(owner.canonical))
            .values(**values)
        )
    if not changed.rowcount:
        raise NotFound("there is no such draft")
    return identifier


def find(database: Database, owner: Endpoint, identifier: str) -> Draft:
    """One draft, with the names of what is attached. Raises NotFound."""
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
            )
            .where(draft_attachments.c.draft == identifier)
            .order_by(draft_attachments.c.name, draft_attachments.c.id)
        ).all()
    attachments = tuple(Attachment(one.id, one.name, one.type, one.size) for one in attached)
    return Draft(row.id, DraftFields(**json.loads(row.fields)), row.changed_at, attachments)


def listed(database: Database, owner: Endpoint, limit: int = 200) -> list[Draft]:
    """An owner's drafts, those changed last first, without what is attached."""
    with database.reading() as connection:
        found = connection.execute(
            select(drafts)
            .where(drafts.c.owner == str(owner.canonical))
            .order_by(drafts.c.changed_at.desc())
            .limit(limit)
        ).all()
    return [Draft(row.id, DraftFields(**json.loads(row.fields)), row.changed_at) for row in found]


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
    database: Database, owner: Endpoint, identifier: str, name: str, kind: str, octets: bytes
) -> str:
    """Attaches something; returns its identifier. Raises NotFound, or TooLarge."""
    draft = find(database, owner, identifier)
    if sum(one.size for one in draft.attachments) + len(octets) > MOST_ATTACHED:
        raise TooLarge("what is attached", MOST_ATTACHED)
    attachment = new_identifier()
    with database.transaction() as connection:
        connection.execute(
            insert(draft_attachments).values(
                id=attachment, draft=identifier, name=name[:255], type=kind[:255], octets=octets
            )
        )
    return attachment


def detach(database: Database, owner: Endpoint, identifier: str, attachment: str) -> None:
    """Takes something off again. Raises NotFound."""
    find(database, owner, identifier)
    with database.transaction() as connection:
        gone = connection.execute(
            delete_from(draft_attachments).where(
                draft_attachments.c.id == attachment, draft_attachments.c.draft == identifier
            )
        )
    if not gone.rowcount:
        raise NotFound("nothing such is attached")


def octets_of(database: Database, attachments: Sequence[Attachment]) -> dict[str, bytes]:
    """The octets of what is attached to a draft that was found, by identifier."""
    with database.reading() as connection:
        found = connection.execute(
            select(draft_attachments.c.id, draft_attachments.c.octets).where(
                draft_attachments.c.id.in_([one.identifier for one in attachments])
            )
        ).all()
    return {row.id: row.octets for row in found}
