"""The table by which an old database is recognised."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from mailer.storage.models.base import Base


class Generation(Base):
    """The one row that counts what a restored database would undo, under a random name."""

    __tablename__ = "generation"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(32))
    number: Mapped[int] = mapped_column(BigInteger)
    database_identity: Mapped[str | None] = mapped_column(String(80))
    """The physical database that was given the name; any other is a copy of it, or was moved."""
    runs_since: Mapped[str | None] = mapped_column(String(32))
    """The revision before the last upgrade: the version that needs it may run, too."""

    __table_args__ = (CheckConstraint("id = 1", name="one"),)
