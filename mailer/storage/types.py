"""Column types that neither database has, and the present time as an `Instant` column holds it."""

from __future__ import annotations

import secrets
import sys
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, LargeBinary, TypeDecorator

Id = BigInteger().with_variant(Integer, "sqlite")
"""An integer key: eight bytes on PostgreSQL; a primary key on SQLite is the rowid."""


class Instant(TypeDecorator[datetime]):
    """A datetime in UTC, with its time zone both when written and when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; raises ValueError for a naive datetime."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the datetime in UTC, also from SQLite, which stores no time zone."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value)


class PackedIds(TypeDecorator[Sequence[int]]):
    """Sorted ids in one value, eight bytes each, little-endian; read as an array."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> bytes | None:
        """Pack the ids."""
        return None if value is None else _little_endian(array("q", value)).tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Sequence[int]:
        """Unpack the ids."""
        return _little_endian(array("q", value or b""))


def _little_endian(numbers: array[int]) -> array[int]:
    """Swap the bytes of each number in place on a big-endian machine, to pack or to unpack."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


def new_nonce() -> int:
    """Return a random number that no restored database gives out again."""
    return secrets.randbits(63)
