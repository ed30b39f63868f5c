"""Personal data: what is stored about one address (GDPR, 15 and 20)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from mailer.domain.releases.stored_release import title_of
from mailer.errors import NotFound
from mailer.mail.addresses import canonical
from mailer.storage.database import read_transaction
from mailer.storage.models import (
    AddressChange,
    Base,
    Batch,
    BatchMembers,
    Consent,
    OutboxMessage,
    Outcome,
    Publisher,
    Release,
    Subscriber,
    Subscription,
    Uncertain,
)
from mailer.storage.types import now

PersonalData = dict[str, Any]

_NEWEST = 10


def for_address(address: str) -> PersonalData:
    """Return all that is stored about an address; raises InvalidAddress and NotFound."""
    address = canonical(address)
    with read_transaction() as session:
        person = session.scalar(select(Subscriber).where(Subscriber.address == address))
        if person is None:
            raise NotFound("No subscriber has this address.")
        return _of_person(session, person)


def for_subscriber_of(subscription_id: int) -> PersonalData | None:
    """Return all that is stored about a subscription's subscriber; None once they are erased."""
    with read_transaction() as session:
        person = session.scalar(
            select(Subscriber)
            .join(Subscription, Subscription.subscriber_id == Subscriber.id)
            .where(Subscription.id == subscription_id)
        )
        return None if person is None else _of_person(session, person)


@dataclass(frozen=True, slots=True)
class SubscriptionAnswer:
    """Why a subscription may bring no letters, and what became of the last releases."""

    suppressed: bool
    ended_at: datetime | None
    paused_until: datetime | None
    releases: Sequence[PersonalData]
    """Newest first, as in the personal data."""


def reasons(subscription_id: int) -> SubscriptionAnswer | None:
    """Return why a subscription may bring no letters; None once its subscriber is erased."""
    with read_transaction() as session:
        subscription = session.get_one(Subscription, subscription_id)
        person = subscription.subscriber_id and session.get(Subscriber, subscription.subscriber_id)
        if not person:
            return None
        until = subscription.paused_until
        return SubscriptionAnswer(
            suppressed=person.suppressed_at is not None,
            ended_at=subscription.ended_at,
            paused_until=until if until and until > now() else None,
            releases=_of_releases(session, subscription)[: -_NEWEST - 1 : -1],
        )


def _of_person(session: Session, person: Subscriber) -> PersonalData:
    rows = session.execute(
        select(Subscription, Publisher)
        .join(Publisher, Publisher.id == Subscription.publisher_id)
        .where(Subscription.subscriber_id == person.id)
        .order_by(Subscription.id)
    ).all()
    return _columns(person, "address", "created_at", "suppressed_at") | {
        "subscriptions": [_of_subscription(session, one, room) for one, room in rows],
        "changes_of_address": _rows(
            session.scalars(
                select(AddressChange)
                .where(AddressChange.subscriber_id == person.id)
                .order_by(AddressChange.id)
            ),
            *("requested_at", "done_at"),
        ),
    }


def _of_subscription(session: Session, one: Subscription, room: Publisher) -> PersonalData:
    consents = select(Consent).where(Consent.subscription_id == one.id).order_by(Consent.id)
    letters = (
        select(OutboxMessage)
        .where(OutboxMessage.subscription_id == one.id)
        .order_by(OutboxMessage.id)
    )
    return {
        "press_room": room.name,
        **_columns(one, "locale", "requested_at", "confirmed_at"),
        **_columns(one, "paused_until", "ended_at", "ended_reason"),
        "consents": _rows(
            session.scalars(consents),
            *("step", "at", "wording", "language", "page", "network", "message_id"),
        ),
        "letters": _rows(
            session.scalars(letters),
            *("kind", "message_id", "created_at", "attempts", "finished_at", "outcome"),
        ),
        "releases": _of_releases(session, one),
    }


def _of_releases(session: Session, one: Subscription) -> Sequence[PersonalData]:
    """Return what became of each release for a subscription, oldest first.

    `at` is when that was known; of one that was accepted or waits, when its sending began.
    """
    outcomes = {
        row.release_id: row
        for row in session.scalars(select(Outcome).where(Outcome.subscription_id == one.id))
    }
    found: list[PersonalData] = []
    for release, position, ids in session.execute(_batches_of(one)):
        index = bisect_left(ids, one.id)
        if ids[index] != one.id:
            continue
        known = {"release": title_of(release), "release_id": release.id}
        if (row := outcomes.get(release.id)) is not None:
            found.append(known | {"outcome": row.kind, **_columns(row, "reason", "at")})
        else:
            outcome = "accepted" if index < position else "waiting"
            found.append(known | {"outcome": outcome, "at": _json(release.frozen_at)})
    twice = select(Uncertain, Release).join(Release, Release.id == Uncertain.release_id)
    for listed, release in session.execute(twice.where(Uncertain.subscription_id == one.id)):
        known = {"release": title_of(release), "release_id": release.id}
        found.append(known | {"outcome": "uncertain", **_columns(listed, "reason", "at")})
    return found


def _batches_of(one: Subscription) -> Select[Release, int, Sequence[int]]:
    """Select the batches in whose range a subscription is."""
    return (
        select(Release, Batch.position, BatchMembers.ids)
        .join(Batch, Batch.release_id == Release.id)
        .join(BatchMembers, BatchMembers.batch_id == Batch.id)
        .where(
            Release.publisher_id == one.publisher_id,
            Batch.kind == "first",
            Batch.lowest <= one.id,
            Batch.highest >= one.id,
        )
        .order_by(Release.id)
    )


def _rows(rows: Iterable[Base], *names: str) -> Sequence[PersonalData]:
    return [_columns(row, *names) for row in rows]


def _columns(row: Base, *names: str) -> PersonalData:
    """Return columns of a row as JSON values."""
    return {name: _json(getattr(row, name)) for name in names}


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
