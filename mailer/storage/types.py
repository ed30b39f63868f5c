"""Column types that neither database has, and the present time as such a column holds it."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, LargeBinary, TypeDecorator

Id = BigInteger().with_variant(Integer, "sqlite")
"""A key that PostgreSQL keeps in eight bytes and SQLite as its own row number."""


class Instant(TypeDecorator[datetime]):
    """A moment in UTC, aware on both sides of the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; a naive moment is a mistake of ours."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read UTC, also where the database keeps no zone."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value)


class PackedIds(TypeDecorator[Sequence[int]]):
    """Sorted ids in one value, eight bytes each, little-endian; and in arrays when read."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> bytes | None:
        """Pack the ids."""
        return None if value is None else _little_endian(array("q", value)).tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Sequence[int]:
        """Unpack the ids."""
        return _little_endian(array("q", value or b""))


def _little_endian(numbers: array[int]) -> array[int]:
    """Turn each number around, to and fro, on a machine that has the other order."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)
