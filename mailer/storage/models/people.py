"""Tables of press rooms, their subscribers, and the letters to single subscribers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
)
from sqlalchemy.orm import Mapped, mapped_column

from mailer.storage.models.base import Base, partial_index
from mailer.storage.types import Id, new_nonce


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
    """What the press room says about itself, in plain text."""
    contacts: Mapped[list[dict[str, Any]] | None]
    """Press contacts, with the same fields as the contacts of a release."""
    privacy: Mapped[str | None] = mapped_column(String(5000))
    """The press room's addition to its privacy page, such as who is the controller; plain text."""
    notices: Mapped[str | None] = mapped_column(String(320))
    """Who is told of a release that pauses itself: null for the sender, `none` for no notice."""


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
    tried_at: Mapped[datetime | None]
    """When a sign-up last brought a letter to such a mailbox, or was confirmed by it."""
    tries: Mapped[int] = mapped_column(server_default="0")
    """How many letters sign-ups have brought there since it was suppressed."""

    __table_args__ = (
        partial_index("ix_subscribers_tried_at", "tried_at", where="tried_at IS NOT NULL"),
    )


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
    """No release is sent until then; those published in the pause are not sent later either."""
    nonce: Mapped[int | None] = mapped_column(BigInteger, default=new_nonce)
    """Part of what every signature covers; null in rows from before there were nonces."""

    __table_args__ = (
        partial_index(
            "uq_subscriptions_open",
            "subscriber_id",
            "publisher_id",
            where="ended_at IS NULL",
            unique=True,
        ),
        Index("ix_subscriptions_subscriber_id", "subscriber_id"),
        partial_index(
            "ix_subscriptions_audience",
            "publisher_id",
            "id",
            where="confirmed_at IS NOT NULL AND ended_at IS NULL",
        ),
        CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name="ended"),
    )


class Consent(Base):
    """One step of a subscription, kept as proof; only an erasure changes a row."""

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


class SignUp(Base):
    """A sign-up that may have brought a letter, for a day: limits count these.

    Mailbox and domain are keyed hashes; the domain is null where there is no limit for it.
    """

    __tablename__ = "sign_ups"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey(Publisher.id))
    mailbox: Mapped[str] = mapped_column(String(32))
    domain: Mapped[str | None] = mapped_column(String(32))
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_sign_ups_mailbox", "mailbox", "at"),
        Index("ix_sign_ups_domain", "domain", "at"),
    )


class Fingerprint(Base):
    """The fingerprint of a key that signs links ("secret") or hashes addresses ("erasure")."""

    __tablename__ = "fingerprints"

    purpose: Mapped[str] = mapped_column(String(10), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    since: Mapped[datetime]


class Erased(Base):
    """An erased address as a keyed hash: only its owner may bring it back, and no import."""

    __tablename__ = "erased"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime]


class AddressChange(Base):
    """A follower's wish for another mailbox, kept for 30 days; that mailbox has to agree."""

    __tablename__ = "address_changes"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey(Subscriber.id), index=True)
    """Whose wish it is; whose way back it is."""
    address: Mapped[str] = mapped_column(String(320))
    is_way_back: Mapped[bool]
    """Whether this goes to the mailbox of before a change, when it is made."""
    requested_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    nonce: Mapped[int] = mapped_column(BigInteger, default=new_nonce)


class MovingSubscription(Base):
    """A subscription that a change of address is about."""

    __tablename__ = "moving_subscriptions"

    address_change_id: Mapped[int] = mapped_column(
        ForeignKey(AddressChange.id, ondelete="CASCADE"), primary_key=True
    )
    subscription_id: Mapped[int] = mapped_column(
        ForeignKey(Subscription.id), primary_key=True, index=True
    )
    goes_on: Mapped[bool]
    """Whether it was open; those that had ended come along, for the links of old letters."""


class OutboxMessage(Base):
    """A letter to one person, inserted in the transaction that causes it and sent later."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    subscription_id: Mapped[int | None] = mapped_column(ForeignKey(Subscription.id), index=True)
    release_id: Mapped[int | None] = mapped_column(ForeignKey("releases.id"))
    """The release that a notice to the press room is about; it has no subscription."""
    message_id: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    epoch: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[int | None] = mapped_column(BigInteger)
    not_before: Mapped[int | None] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(40))
    address_change_id: Mapped[int | None] = mapped_column(
        ForeignKey(AddressChange.id, ondelete="SET NULL")
    )
    """The change that the letter is about: it goes to the address in it."""
    dated_at: Mapped[datetime | None]
    """Its Date: when it was first claimed."""

    __table_args__ = (
        CheckConstraint(
            "kind IN ('confirm', 'following', 'welcome', 'goodbye', 'manage', 'move', 'moved', "
            "'notice')",
            name="kind",
        ),
        CheckConstraint(
            "(kind = 'notice') = (release_id IS NOT NULL AND subscription_id IS NULL)",
            name="about",
        ),
        partial_index("ix_outbox_open", "id", where="finished_at IS NULL"),
        partial_index(
            "ix_outbox_address_change_id",
            "address_change_id",
            where="address_change_id IS NOT NULL",
        ),
    )
