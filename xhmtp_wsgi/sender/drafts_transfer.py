"""Drafts as JSON has them, and taken from there; what is attached is a file (docs/moving.md).

A sealed draft goes as it is kept: only its owner's key opens it, here and there.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields as fields_of
from typing import Any, TypeAlias

from sqlalchemy import Connection, insert, select

from xhmtp_wsgi.errors import Duplicate, Malformed
from xhmtp_wsgi.protocol.access_code import is_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.row_json import RowForm, harmless, kept_text, octets_of
from xhmtp_wsgi.secret_box import OVERHEAD
from xhmtp_wsgi.sender.drafts import (
    BOX,
    MOST_ATTACHED,
    MOST_NAME,
    MOST_SEALED_NAME,
    MOST_TEXT,
    DraftFields,
    draft_attachments,
    drafts,
)

DRAFT = RowForm(drafts, without={"owner", "fields"})
ATTACHMENT = RowForm(draft_attachments, without={"draft", "octets"})

# As JSON every character may be six, and as base64 four octets for three.
MOST_SEALED_TEXT = 8 * MOST_TEXT + 4096

Read: TypeAlias = Callable[[str, int], bytes]
"""Gives the octets of an attachment, by its identifier, that are so many at most."""


def draft_owners(connection: Connection) -> set[str]:
    """Everybody who has drafts."""
    return set(connection.execute(select(drafts.c.owner).distinct()).scalars())


def drafts_of(
    connection: Connection, owner: Endpoint, write: Callable[[str, bytes], object]
) -> Iterator[dict[str, Any]]:
    """Her drafts; what is attached is given to ``write``, with its identifier."""
    found = connection.execute(
        select(drafts).where(drafts.c.owner == str(owner.canonical)).order_by(drafts.c.id)
    ).all()
    for row in found:
        attached = connection.execute(
            select(draft_attachments.c.id)
            .where(draft_attachments.c.draft == row.id)
            .order_by(draft_attachments.c.id)
        ).scalars()
        attachments = []
        for identifier in attached.all():
            one = connection.execute(
                select(draft_attachments).where(draft_attachments.c.id == identifier)
            ).one()
            write(one.id, one.octets)
            digest = b64encode(hashlib.sha256(one.octets).digest()).decode()
            size = len(one.octets)
            attachments.append({**ATTACHMENT.encode(one), "size": size, "digest": digest})
        yield {**DRAFT.encode(row), "fields": json.loads(row.fields), "attachments": attachments}


def checked_draft(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of a draft, and those of what is attached. Raises Malformed."""
    rest = {name: one for name, one in given.items() if name not in ("fields", "attachments")}
    values = DRAFT.decode(rest)
    if not is_identifier(values["id"]):
        raise Malformed("a draft has no ID")
    fields, attachments = given.get("fields"), given.get("attachments")
    sealed = isinstance(fields, dict) and fields.keys() == {BOX}
    known = {BOX} if sealed else {one.name for one in fields_of(DraftFields)}
    if (
        not isinstance(fields, dict)
        or not fields.keys() <= known
        or not all(isinstance(one, str) for one in fields.values())
        or sum(map(len, fields.values())) > (MOST_SEALED_TEXT if sealed else MOST_TEXT)
        or not isinstance(attachments, list)
    ):
        raise Malformed(f"the draft {values['id']} is not as drafts are kept")
    for value in fields.values():
        kept_text(value, "draft.fields")
    if sealed:
        octets_of(fields[BOX], "draft.fields")
    found = [_checked_attachment(values["id"], one, sealed=sealed) for one in attachments]
    if sum(one["size"] for one in found) > MOST_ATTACHED + (OVERHEAD * len(found) if sealed else 0):
        raise Malformed(f"the draft {values['id']} has too much attached")
    return {**values, "fields": json.dumps(fields)}, found


def _checked_attachment(draft: str, given: object, *, sealed: bool) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Malformed(f"what is attached to {draft} is no object")
    rest = {name: one for name, one in given.items() if name not in ("size", "digest")}
    values, size = ATTACHMENT.decode(rest), given.get("size")
    if not is_identifier(values["id"]) or not isinstance(size, int) or size < 0:
        raise Malformed(f"what is attached to {draft} has no ID, or no size")
    if sealed:
        octets_of(values["name"], "attachment.name")
    most = MOST_SEALED_NAME if sealed else MOST_NAME
    values["name"] = harmless(values["name"][:most])
    values["type"] = harmless(values["type"][:MOST_NAME])
    digest = octets_of(str(given.get("digest")), "attachment.digest")
    return {**values, "draft": draft, "size": size, "digest": digest}


def checked_octets(attachment: Mapping[str, Any], read: Read) -> bytes:
    """The octets of an attachment. Raises Malformed where they are not those told of."""
    octets = read(attachment["id"], attachment["size"])
    digest = hashlib.sha256(octets).digest()
    if (len(octets), digest) != (attachment["size"], attachment["digest"]):
        raise Malformed(f"the attachment {attachment['id']} is not as it was")
    return octets


def take_draft(
    connection: Connection, owner: Endpoint, given: Mapping[str, Any], read: Read
) -> bool:
    """Adds a draft that is not here; was it new? Raises Malformed or Duplicate."""
    values, attachments = checked_draft(given)
    here = select(drafts.c.owner).where(drafts.c.id == values["id"])
    owner_here = connection.execute(here).scalar()
    if owner_here is not None:
        if owner_here != str(owner):
            raise Duplicate(f"the draft {values['id']} is somebody else's here")
        return False
    connection.execute(insert(drafts).values(owner=str(owner), **values))
    for one in attachments:
        octets = checked_octets(one, read)
        row = {name: one[name] for name in ("id", "draft", "name", "type")}
        connection.execute(insert(draft_attachments).values(octets=octets, **row))
    return True
