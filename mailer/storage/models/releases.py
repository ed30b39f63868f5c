"""Tables of releases, and of what became of each recipient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from mailer.storage.models.base import Base
from mailer.storage.models.people import Publisher
from mailer.storage.types import Id, PackedIds

ReleaseKind = Literal["release", "correction", "retraction"]
"""The letter that is sent; the last two are for recipients who have an earlier version."""


class Release(Base):
    """One version of one thing published."""

    __tablename__ = "releases"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey(Publisher.id))
    reference: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(server_default="1")
    letter: Mapped[ReleaseKind] = mapped_column(String(10), server_default="release")
    """The letter for recipients who have an earlier version; `release` for a first version."""
    replaces_id: Mapped[int | None] = mapped_column(ForeignKey("releases.id"))
    body_sha256: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(12))
    # The column keeps its first name: during a deploy, processes of both versions use it.
    initial_state: Mapped[str] = mapped_column("first_state", String(12))
    """The state in the answer to the publish call; a repeated call gets the same answer."""
    paused_because: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    published_at: Mapped[datetime]
    starts_at: Mapped[datetime]
    frozen_at: Mapped[datetime | None]
    # This column keeps its first name likewise.
    database_identity: Mapped[str | None] = mapped_column("kept_in", String(80))
    """The database in which it was published or last resumed; any other is a restored copy."""
    resumed_at: Mapped[int | None] = mapped_column(BigInteger)
    """When it was last resumed, in milliseconds; a batch claimed before may not pause it again."""
    finished_at: Mapped[datetime | None]
    total: Mapped[int] = mapped_column(default=0)
    message_key: Mapped[bytes]
    message_domain: Mapped[str] = mapped_column(String(255))

    __table_args__ = (
        UniqueConstraint("publisher_id", "reference", "version"),
        CheckConstraint("letter IN ('release', 'correction', 'retraction')", name="letter"),
        CheckConstraint("(version = 1) = (replaces_id IS NULL)", name="version"),
        CheckConstraint(
            "state IN ('scheduled', 'held', 'sending', 'paused', 'stopping', 'stopped', 'done')",
            name="state",
        ),
        Index("uq_releases_replaces_id", "replaces_id", unique=True),
        Index("ix_releases_archive", "publisher_id", "published_at", "id"),
        Index(
            "ix_releases_unfinished",
            "state",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
    )


class Batch(Base):
    """Up to 1,000 subscriptions of a release, and how far delivery to them has come."""

    __tablename__ = "batches"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    release_id: Mapped[int] = mapped_column(ForeignKey(Release.id), index=True)
    kind: Mapped[str] = mapped_column(String(5))
    letter: Mapped[ReleaseKind] = mapped_column(String(10), server_default="release")
    """The letter its members get; members without an earlier version get `release`."""
    lowest: Mapped[int] = mapped_column(BigInteger)
    highest: Mapped[int] = mapped_column(BigInteger)
    size: Mapped[int]
    position: Mapped[int] = mapped_column(default=0)
    epoch: Mapped[int] = mapped_column(default=0)
    open: Mapped[bool] = mapped_column(default=True)
    lease_until: Mapped[int | None] = mapped_column(BigInteger)
    not_before: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        CheckConstraint("kind IN ('first', 'retry')", name="kind"),
        CheckConstraint("letter IN ('release', 'correction', 'retraction')", name="letter"),
        CheckConstraint("position BETWEEN 0 AND size", name="position"),
        Index(
            "ix_batches_open",
            "release_id",
            "id",
            postgresql_where=text("open"),
            # As SQLAlchemy writes the condition: SQLite uses the index for this wording only.
            sqlite_where=text("open = 1"),
        ),
        {"postgresql_with": {"fillfactor": 50}},
    )


class BatchMembers(Base):
    """The members of a batch; not in its row, which is rewritten with every message."""

    __tablename__ = "batch_members"

    batch_id: Mapped[int] = mapped_column(
        ForeignKey(Batch.id), primary_key=True, autoincrement=False
    )
    ids: Mapped[Sequence[int]] = mapped_column(PackedIds)
    """Subscription ids, sorted."""


class Outcome(Base):
    """A recipient of a release who was not plainly accepted."""

    __tablename__ = "outcomes"

    release_id: Mapped[int] = mapped_column(ForeignKey(Release.id), primary_key=True)
    subscription_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    letter: Mapped[ReleaseKind] = mapped_column(String(10), server_default="release")
    kind: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(String(20))
    """The enhanced status code (RFC 3463) of a reply, or one word, such as `stopped`."""
    at: Mapped[datetime]
    first_deferred_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[int | None] = mapped_column(BigInteger)
    batch_id: Mapped[int | None] = mapped_column(Id)

    __table_args__ = (
        CheckConstraint("kind IN ('deferred', 'refused', 'skipped')", name="kind"),
        CheckConstraint("letter IN ('release', 'correction', 'retraction')", name="letter"),
        Index(
            "ix_outcomes_deferred",
            "next_at",
            postgresql_where=text("kind = 'deferred'"),
            sqlite_where=text("kind = 'deferred'"),
        ),
    )


class Uncertain(Base):
    """A recipient who may have been sent the same message twice, and why."""

    __tablename__ = "uncertain"

    release_id: Mapped[int] = mapped_column(ForeignKey(Release.id), primary_key=True)
    subscription_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
