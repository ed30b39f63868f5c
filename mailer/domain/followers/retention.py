"""Retention: how long unconfirmed sign-ups and former subscribers are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    and_,
    delete,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.orm import aliased

from mailer.config import Settings
from mailer.domain.followers.erasure import erase_subscribers, lock_subscribers
from mailer.mail.content import MOVE_WITHIN
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import AddressChange, SignUp, Subscriber, Subscription
from mailer.storage.types import now

UNCONFIRMED_KEPT = timedelta(days=30)
_AT_ONCE = 1_000

_OTHER = aliased(Subscription)


def apply_retention(settings: Settings) -> None:
    """Expire old unconfirmed subscriptions, and erase subscribers without an open or recent one.

    Transactions are small, so that no visitor waits for them. Idempotent. Without an erasure key,
    subscribers are erased all the same, and an import may add them again.
    """
    while _expire() == _AT_ONCE:
        pass
    with transaction() as session:
        session.execute(delete(SignUp).where(SignUp.at < now() - timedelta(days=1)))
        old = AddressChange.requested_at < now() - MOVE_WITHIN
        session.execute(delete(AddressChange).where(old))
    since = now() - timedelta(days=settings.keep_ended_days)
    last = 0
    while ids := _inactive(last, since):
        with transaction() as session:
            lock_subscribers(session, ids)
            # A subscriber may have signed up before the lock, so each is checked again under it.
            inactive = select(Subscriber.id).where(
                Subscriber.id.in_(ids), _is_inactive(Subscriber.id, since)
            )
            found = session.scalars(inactive).all()
            erase_subscribers(session, settings, found, asked=False)
        last = ids[-1]


def _expire() -> int:
    unconfirmed = (Subscription.confirmed_at.is_(None), Subscription.ended_at.is_(None))
    old = select(Subscription.id).where(
        *unconfirmed, Subscription.requested_at < now() - UNCONFIRMED_KEPT
    )
    with transaction() as session:
        found = session.scalars(old.limit(_AT_ONCE)).all()
        session.execute(
            update(Subscription)
            .where(Subscription.id.in_(found), *unconfirmed)
            .values(ended_at=now(), ended_reason="expired")
        )
        return len(found)


def _inactive(last: int, since: datetime) -> Sequence[int]:
    """Return the next subscribers' ids after `last` who have no open or recent subscription."""
    with read_transaction() as session:
        found = session.scalars(
            select(Subscription.subscriber_id)
            .where(
                Subscription.subscriber_id > last,
                ~_is_active(Subscription, since),
                _is_inactive(Subscription.subscriber_id, since),
            )
            .distinct()
            .order_by(Subscription.subscriber_id)
            .limit(_AT_ONCE)
        )
        return [one for one in found if one is not None]


def _is_inactive(
    subscriber_id: SQLColumnExpression[int] | SQLColumnExpression[int | None], since: datetime
) -> ColumnElement[bool]:
    return ~exists().where(_OTHER.subscriber_id == subscriber_id, _is_active(_OTHER, since))


def _is_active(one: type[Subscription], since: datetime) -> ColumnElement[bool]:
    """Return the condition that a subscription is open, or ended after `since` without expiring."""
    return or_(one.ended_at.is_(None), and_(one.ended_at > since, one.ended_reason != "expired"))
