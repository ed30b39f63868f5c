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
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from mailer.storage.models.base import Base, partial_index
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
    story_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of what a reader gets; null if it is not mailed."""
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
    not_before: Mapped[int | None] = mapped_column(BigInteger)
    """Until then its batches rest, since the relay refused the sender."""
    rests: Mapped[int] = mapped_column(server_default="0")
    """How often its batches have rested since the relay last took the sender."""
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
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
        partial_index("ix_releases_unfinished", "state", where="finished_at IS NULL"),
    )


class ComposedLetter(Base):
    """A letter of an unfinished release, as a process with limits composed it."""

    __tablename__ = "composed_letters"

    release_id: Mapped[int] = mapped_column(ForeignKey(Release.id), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Of all that it was made of but the locale."""
    locale: Mapped[str] = mapped_column(String(20), primary_key=True)
    letter: Mapped[dict[str, Any]]


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
    dated_at: Mapped[int | None] = mapped_column(BigInteger)
    """The Date of what its last claim sends, in milliseconds since 1970."""
    lost_at: Mapped[int | None]
    """The position at which the last lost lease was lost."""
    losses: Mapped[int] = mapped_column(server_default="0")
    """How many leases were lost there, one after another."""

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
    # Only processes of the version before 0006 read and write it.
    first_deferred_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    """The answers that count against the recipient: temporary refusals and unanswered dots."""
    unanswered: Mapped[int] = mapped_column(server_default="0")
    """How many of them were unanswered dots."""
    doubted_at: Mapped[int | None] = mapped_column(BigInteger)
    """When a permanent refusal was first doubted, in milliseconds; null if none is."""
    marked: Mapped[bool] = mapped_column(server_default=false())
    """Whether the next permanent refusal is believed, since this one was among five in a row."""
    next_at: Mapped[int | None] = mapped_column(BigInteger)
    batch_id: Mapped[int | None] = mapped_column(Id)

    __table_args__ = (
        CheckConstraint("kind IN ('deferred', 'refused', 'skipped')", name="kind"),
        CheckConstraint("letter IN ('release', 'correction', 'retraction')", name="letter"),
        partial_index("ix_outcomes_deferred", "next_at", where="kind = 'deferred'"),
        partial_index("ix_outcomes_doubted", "release_id", where="doubted_at IS NOT NULL"),
        partial_index("ix_outcomes_refused", "subscription_id", where="kind = 'refused'"),
    )


class PastOutcome(Base):
    """An outcome that an operator has reopened, kept in the recipient's history."""

    __tablename__ = "past_outcomes"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    release_id: Mapped[int] = mapped_column(ForeignKey(Release.id))
    subscription_id: Mapped[int] = mapped_column(Id)
    kind: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]

    __table_args__ = (Index("ix_past_outcomes_recipient", "release_id", "subscription_id"),)


class Uncertain(Base):
    """A recipient who may have been sent the same message twice, and why."""

    __tablename__ = "uncertain"

    release_id: Mapped[int] = mapped_column(ForeignKey(Release.id), primary_key=True)
    subscription_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
    dated_at: Mapped[int | None] = mapped_column(BigInteger)
    """The Date of the copy that may have arrived; a second one has the same."""


class RelayState(Base):
    """The one row about the relay as a whole, which every sending process reads and writes.

    All times are milliseconds by the database's clock.
    """

    __tablename__ = "relay"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    answered_at: Mapped[int | None] = mapped_column(BigInteger)
    """When it last accepted a message, give or take a second."""
    probe_after: Mapped[int | None] = mapped_column(BigInteger)
    """While the relay backoff lasts: when the next probe may leave; else null."""
    probe_wait: Mapped[int] = mapped_column(server_default="0")
    """The seconds between the next probe and the one after it."""
    probes: Mapped[int] = mapped_column(server_default="0")
    """How many probes have been claimed since the relay backoff began."""
    refused_since: Mapped[int | None] = mapped_column(BigInteger)
    """Since when it answers a connection or a log-in with 5yz."""
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    """When the last relay backoff ended."""
    rate: Mapped[float | None]
    """The adaptive rate that was found, in messages a second, while it is kept to; else null."""
    rate_at: Mapped[int | None] = mapped_column(BigInteger)
    """When it was last noted, at most once a second."""
    rate_setter_at: Mapped[int | None] = mapped_column(BigInteger)
    """When the process that sets the rate said so last; null if nothing is held back."""
    others_accepted: Mapped[int] = mapped_column(server_default="0")
    """What the relay accepted of processes that stand aside, until the one that sets it counts it.
    """

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class Alert(Base):
    """Something that the operator's alert command is told, once for as long as it lasts."""

    __tablename__ = "alerts"

    cause: Mapped[str] = mapped_column(String(80), primary_key=True)
    due: Mapped[int] = mapped_column(BigInteger)
    """When it has lasted long enough to be told, in milliseconds by the database's clock."""
    told: Mapped[bool] = mapped_column(server_default=false())
