"""Rows of a table as JSON objects and back, for what leaves the database as files (docs/moving.md).

A field has its column's name; octets are base64, times are seconds since the epoch, all exact.

Security: what is read may come from anybody. A field that is not known, one that is missing, or one
of another kind is Malformed, and a time is one that every program of ours can write as a date.
"""

import base64
import binascii
import math
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, Row, Table, Text

from xhmtp_wsgi.errors import Malformed

LATEST = 253_370_764_800.0  # seconds: the year 9999, the last that a date can be written of
_MOST = {BigInteger: (1 << 63) - 1, Integer: (1 << 31) - 1}


class RowForm:
    """Which columns of a table stand in JSON, and how."""

    def __init__(
        self,
        table: Table,
        *,
        without: Collection[str] = (),
        optional: Collection[str] = (),
        signed: Collection[str] = (),
    ) -> None:
        """``without``: columns that are no fields; ``optional``: fields that may be missing.

        ``signed``: numbers that may be below zero.
        """
        self.table = table
        self.without = frozenset(without)
        self.columns = tuple(column for column in table.c if column.name not in self.without)
        self._optional = frozenset(optional)
        self._signed = frozenset(signed)

    def encode(self, row: Row[Any]) -> dict[str, Any]:
        """The fields of a row."""
        return {column.name: _encoded(row._mapping[column.name]) for column in self.columns}

    def decode(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a row; of what is missing the default. Raises Malformed, naming the field.

        A default of the database's is not among the values.
        """
        unknown = fields.keys() - {column.name for column in self.columns}
        if unknown:
            raise Malformed(
                f"{self.table.name} has a field {min(unknown)[:50]!r} that is not known here; "
                "a newer program has written it"
            )
        values = {}
        for column in self.columns:
            if column.name in fields:
                values[column.name] = self._value(column, fields[column.name])
            elif column.nullable:
                values[column.name] = None
            elif column.name not in self._optional and not _has_default(column):
                raise Malformed(f"{self.table.name} has no field {column.name!r}")
        return values

    def _value(self, column: Column[Any], value: object) -> object:
        where = f"{self.table.name}.{column.name}"
        if value is None and column.nullable:
            return None
        match column.type:
            case Text() if isinstance(value, str):
                return kept_text(value, where)
            case LargeBinary() if isinstance(value, str):
                return octets_of(value, where)
            case Boolean() if isinstance(value, bool):
                return value
            case Double() if isinstance(value, int | float) and not isinstance(value, bool):
                return self._real(column, float(value), where)
            case Integer() if isinstance(value, int) and not isinstance(value, bool):
                most = _MOST[BigInteger if isinstance(column.type, BigInteger) else Integer]
                if not (-most if column.name in self._signed else 0) <= value <= most:
                    raise Malformed(f"{where} is out of bounds")
                return value
        raise Malformed(f"{where} is not of its kind")

    def _real(self, column: Column[Any], value: float, where: str) -> float:
        least = -LATEST if column.name in self._signed else 0.0
        if not (math.isfinite(value) and least <= value <= LATEST):
            raise Malformed(f"{where} is out of bounds")
        return value


def octets_of(text: str, where: str) -> bytes:
    """What base64 stands for. Raises Malformed."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(f"{where} is not base64") from None


def kept_text(value: str, where: str) -> str:
    """The text, if every database can keep it. Raises Malformed."""
    # PostgreSQL keeps no NUL, and none a lone surrogate.
    if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
        raise Malformed(f"{where} has a character that cannot be kept")
    return value


def harmless(text: str | None) -> str | None:
    """The text without control characters, which would work on the terminal that shows it."""
    if text is None or text.isprintable():
        return text
    return "".join(" " if unicodedata.category(one) == "Cc" else one for one in text)


def _encoded(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _has_default(column: Column[Any]) -> bool:
    return column.server_default is not None
