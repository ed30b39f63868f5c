"""Retention: how long requests and people are kept when nothing comes of them any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, exists, or_, select, update
from sqlalchemy.orm import aliased

from mailer.config import Settings
from mailer.domain.followers.erasure import forget, hold
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Subscriber, Subscription
from mailer.storage.types import now

UNCONFIRMED_KEPT = timedelta(days=30)
_AT_ONCE = 1_000

_OTHER = aliased(Subscription)


def keep_no_longer(settings: Settings) -> None:
    """End what nobody has confirmed, and forget whoever has had nothing here for long.

    In transactions so small that no visitor waits for them; again is fine. Without a key for
    the hashes of the erased, people are forgotten all the same, and an import may bring them.
    """
    while _expire() == _AT_ONCE:
        pass
    since = now() - timedelta(days=settings.keep_ended_days)
    last = 0
    while people := _done_with(last, since):
        with transaction() as session:
            hold(session, people)
            # Some may have signed up anew; nobody does from here on.
            done = select(Subscriber.id).where(
                Subscriber.id.in_(people), _nothing_left(Subscriber.id, since)
            )
            forget(session, settings, session.scalars(done).all())
        last = people[-1]


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


def _done_with(last: int, since: datetime) -> Sequence[int]:
    """Return the next people, by their ids, who have nothing here that is open or fresh."""
    with read_transaction() as session:
        found = session.scalars(
            select(Subscription.subscriber_id)
            .where(
                Subscription.subscriber_id > last,
                ~_counts(Subscription, since),
                _nothing_left(Subscription.subscriber_id, since),
            )
            .distinct()
            .order_by(Subscription.subscriber_id)
            .limit(_AT_ONCE)
        )
        return [one for one in found if one is not None]


def _nothing_left(
    person: SQLColumnExpression[int] | SQLColumnExpression[int | None], since: datetime
) -> ColumnElement[bool]:
    return ~exists().where(_OTHER.subscriber_id == person, _counts(_OTHER, since))


def _counts(one: type[Subscription], since: datetime) -> ColumnElement[bool]:
    """Say of a subscription that it is a reason to remember its person."""
    return or_(one.ended_at.is_(None), and_(one.ended_at > since, one.ended_reason != "expired"))
