"""The base class of all tables, and the naming of constraints."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Index, MetaData, text
from sqlalchemy.orm import DeclarativeBase

from mailer.storage.types import Instant


class Base(DeclarativeBase):
    """The base class of all tables; names constraints alike on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: Instant,
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Return an index of the rows for which a condition holds, in both databases."""
    rows = text(where)
    return Index(name, *columns, unique=unique, postgresql_where=rows, sqlite_where=rows)
