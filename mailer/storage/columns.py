"""The kinds of columns that the databases do not have by themselves."""

from __future__ import annotations

import struct
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


class PackedIds(TypeDecorator[list[int]]):
    """Sorted ids in one value, eight bytes each, little-endian."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: list[int] | None, dialect: Dialect) -> bytes | None:
        """Pack the ids."""
        return None if value is None else struct.pack(f"<{len(value)}q", *value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> list[int]:
        """Unpack the ids."""
        packed = value or b""
        return list(struct.unpack(f"<{len(packed) // 8}q", packed))
