"""Kept copies of fetched messages as JSON has them, and taken from there (docs/moving.md)."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.recipient.kept_copies import kept_copies, kept_pieces
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS
from xhmtp_wsgi.row_json import RowForm, harmless, octets_of

COPY = RowForm(kept_copies, without={"notice", "checks"})


def copy_of(connection: Connection, notice: str) -> dict[str, Any] | None:
    """What is known of the copy; None where none is kept."""
    row = connection.execute(
        select(kept_copies).where(kept_copies.c.notice == notice)
    ).one_or_none()
    return None if row is None else {**COPY.encode(row), "checks": json.loads(row.checks)}


def copied_octets(connection: Connection, notice: str) -> Iterator[bytes]:
    """The octets of a copy, piece by piece."""
    numbers = select(kept_pieces.c.number).where(kept_pieces.c.notice == notice)
    for number in connection.execute(numbers.order_by(kept_pieces.c.number)).scalars().all():
        yield connection.execute(
            select(kept_pieces.c.octets).where(
                kept_pieces.c.notice == notice, kept_pieces.c.number == number
            )
        ).scalar_one()


def checked_copy(notice: str, given: object) -> dict[str, Any]:
    """The row of a copy, and its ``digest``. Raises Malformed."""
    if not isinstance(given, dict):
        raise Malformed(f"the copy of {notice} is none")
    rest = {name: one for name, one in given.items() if name not in ("checks", "digest")}
    digest = octets_of(str(given.get("digest")), "kept.digest")
    checks = json.dumps(checked_checks(given.get("checks"), notice))
    return {**COPY.decode(rest), "notice": notice, "checks": checks, "digest": digest}


def take_copy(connection: Connection, copy: Mapping[str, Any], pieces: Iterable[bytes]) -> None:
    """Keeps a copy, with its octets in pieces."""
    row = {name: value for name, value in copy.items() if name != "digest"}
    connection.execute(insert(kept_copies).values(**row))
    for number, octets in enumerate(pieces):
        connection.execute(
            insert(kept_pieces).values(notice=copy["notice"], number=number, octets=octets)
        )


def checked_checks(given: object, notice: str) -> list[list[str]]:
    """The checks of a notice, or of its copy. Raises Malformed."""
    if not isinstance(given, list):
        raise Malformed(f"the checks of the notice {notice} are no list")
    found = []
    for check in given:
        match check:
            case [str(name), str(result), str(reason)] if result in (PASS, FAIL, NONE):
                found.append([harmless(name) or "", result, harmless(reason) or ""])
            case _:
                raise Malformed(f"a check of the notice {notice} is none")
    return found
