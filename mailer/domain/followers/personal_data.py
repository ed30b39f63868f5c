"""Personal data: what is stored about one address (GDPR, 15 and 20)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.errors import NotFound
from mailer.mail.addresses import canonical
from mailer.storage.database import read_transaction
from mailer.storage.models import (
    Base,
    Consent,
    OutboxMessage,
    Outcome,
    Publisher,
    Release,
    Subscriber,
    Subscription,
    Uncertain,
)

PersonalData = dict[str, Any]


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


def _of_person(session: Session, person: Subscriber) -> PersonalData:
    rows = session.execute(
        select(Subscription, Publisher)
        .join(Publisher, Publisher.id == Subscription.publisher_id)
        .where(Subscription.subscriber_id == person.id)
        .order_by(Subscription.id)
    ).all()
    return _columns(person, "address", "created_at", "suppressed_at") | {
        "subscriptions": [_of_subscription(session, one, room) for one, room in rows]
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
    """Return the releases with an outcome or an uncertain row for the subscription."""
    outcomes = select(Outcome, Release).join(Release, Release.id == Outcome.release_id)
    uncertain = select(Uncertain, Release).join(Release, Release.id == Uncertain.release_id)
    outcome_rows = session.execute(outcomes.where(Outcome.subscription_id == one.id)).all()
    uncertain_rows = session.execute(uncertain.where(Uncertain.subscription_id == one.id)).all()
    return [
        {
            "release": release.content["title"],
            "outcome": row.kind if isinstance(row, Outcome) else "uncertain",
            **_columns(row, "reason", "at"),
        }
        for row, release in (*outcome_rows, *uncertain_rows)
    ]


def _rows(rows: Iterable[Base], *names: str) -> Sequence[PersonalData]:
    return [_columns(row, *names) for row in rows]


def _columns(row: Base, *names: str) -> PersonalData:
    """Return columns of a row as JSON values."""
    values = {name: getattr(row, name) for name in names}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }
