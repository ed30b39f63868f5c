"""The tables; what a row means, and which constraints keep it true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mailer.storage.columns import Id, Instant, PackedIds

Letter = Literal["release", "correction", "retraction"]
"""What is sent of a release: all of it, or what is different for whoever has it already."""


class Base(DeclarativeBase):
    """The parent of every table; it names constraints alike on both databases."""

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


class Publisher(Base):
    """One press room."""

    __tablename__ = "publishers"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    from_address: Mapped[str] = mapped_column(String(320))
    locale: Mapped[str] = mapped_column(String(12))
    website_url: Mapped[str | None] = mapped_column(String(2000))
    hold_minutes: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    logo_url: Mapped[str | None] = mapped_column(String(2000))
    accent: Mapped[str | None] = mapped_column(String(7))
    about: Mapped[str | None] = mapped_column(String(2000))
    """Who they are, in plain text."""
    contacts: Mapped[list[dict[str, Any]] | None]
    """Whom a journalist may call, as the contacts of a release."""
    privacy: Mapped[str | None] = mapped_column(String(5000))
    """What they add to the page on privacy, such as who answers for the data; plain text."""


class ApiKey(Base):
    """A key of a publishing system; only its digest is kept."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey(Publisher.id), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scope: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("scope IN ('publish', 'read')", name="scope"),)


class Subscriber(Base):
    """A person, by address."""

    __tablename__ = "subscribers"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    address: Mapped[str] = mapped_column(String(320), unique=True)
    created_at: Mapped[datetime]
    suppressed_at: Mapped[datetime | None]
    suppressed_by: Mapped[int | None] = mapped_column(Id)
    """The release whose refusal showed that the mailbox does not exist."""


class Subscription(Base):
    """A subscriber following a publisher; ended, never deleted."""

    __tablename__ = "subscriptions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    subscriber_id: Mapped[int | None] = mapped_column(ForeignKey(Subscriber.id))
    publisher_id: Mapped[int] = mapped_column(ForeignKey(Publisher.id))
    locale: Mapped[str] = mapped_column(String(12))
    requested_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    ended_reason: Mapped[str | None] = mapped_column(String(40))
    paused_until: Mapped[datetime | None]
    """Nothing is sent until then; what is published meanwhile is not made up for."""

    __table_args__ = (
        Index(
            "uq_subscriptions_open",
            "subscriber_id",
            "publisher_id",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
            sqlite_where=text("ended_at IS NULL"),
        ),
        Index("ix_subscriptions_subscriber_id", "subscriber_id"),
        Index(
            "ix_subscriptions_audience",
            "publisher_id",
            "id",
            postgresql_where=text("confirmed_at IS NOT NULL AND ended_at IS NULL"),
            sqlite_where=text("confirmed_at IS NOT NULL AND ended_at IS NULL"),
        ),
        CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name="ended"),
    )


class Consent(Base):
    """One step of a subscription, kept as proof; rows are only ever added."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    subscription_id: Mapped[int] = mapped_column(ForeignKey(Subscription.id), index=True)
    step: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
    wording: Mapped[str | None] = mapped_column(String(40))
    language: Mapped[str | None] = mapped_column(String(12))
    page: Mapped[str | None] = mapped_column(String(2000))
    network: Mapped[str | None] = mapped_column(String(64))
    message_id: Mapped[str | None] = mapped_column(String(200))


class Erased(Base):
    """Somebody who was erased, as a keyed hash: no file may bring them back, only they may."""

    __tablename__ = "erased"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime]


class OutboxLetter(Base):
    """A letter to one person, written down with the reason for it and sent afterwards."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    subscription_id: Mapped[int] = mapped_column(ForeignKey(Subscription.id), index=True)
    message_id: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    epoch: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[int | None] = mapped_column(BigInteger)
    not_before: Mapped[int | None] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(40))

    __table_args__ = (
        CheckConstraint("kind IN ('confirm', 'welcome', 'goodbye', 'manage')", name="kind"),
        Index(
            "ix_outbox_open",
            "id",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
    )


class Release(Base):
    """One version of one thing published."""

    __tablename__ = "releases"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey(Publisher.id))
    reference: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(server_default="1")
    letter: Mapped[Letter] = mapped_column(String(10), server_default="release")
    """What it is to whoever has the version before."""
    replaces_id: Mapped[int | None] = mapped_column(ForeignKey("releases.id"))
    body_sha256: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(12))
    first_state: Mapped[str] = mapped_column(String(12))
    """The state the first answer told; a repeated call is answered the same."""
    paused_because: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    published_at: Mapped[datetime]
    starts_at: Mapped[datetime]
    frozen_at: Mapped[datetime | None]
    kept_in: Mapped[str | None] = mapped_column(String(80))
    """Which physical database it belongs to: another one is a restored copy."""
    resumed_at: Mapped[int | None] = mapped_column(BigInteger)
    """When it was last resumed; what was begun before that may not pause it again."""
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
        Index(
            "ix_releases_unfinished",
            "state",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
    )


class Batch(Base):
    """How far one piece of a release has come, in order over one SMTP connection."""

    __tablename__ = "batches"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    release_id: Mapped[int] = mapped_column(ForeignKey(Release.id), index=True)
    kind: Mapped[str] = mapped_column(String(5))
    letter: Mapped[Letter] = mapped_column(String(10), server_default="release")
    """Which letter its members get: whoever has no version before gets the plain release."""
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
            # As SQLAlchemy asks there; SQLite sees no index behind another wording.
            sqlite_where=text("open = 1"),
        ),
        {"postgresql_with": {"fillfactor": 50}},
    )


class BatchMembers(Base):
    """Who is in a batch; apart from it, because a batch changes with every message."""

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
    letter: Mapped[Letter] = mapped_column(String(10), server_default="release")
    kind: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(String(20))
    """The enhanced status code (RFC 3463) of an answer, or one word of our own."""
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
