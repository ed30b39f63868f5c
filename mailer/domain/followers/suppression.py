"""Suppression: mailboxes that do not exist, by the evidence of two releases days apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mailer.mail.addresses import domain
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Outcome, Release, Subscriber, Subscription
from mailer.storage.types import now

NO_SUCH_MAILBOX = ("5.1.1", "5.1.10")
APART = timedelta(hours=72)
_MANY = 20
_PART_OF_A_DOMAIN = 10


class _Refusal(NamedTuple):
    subscriber_id: int
    address: str
    release_id: int
    at: datetime

    @property
    def day(self) -> tuple[str, date]:
        """The domain and the day on which it refused."""
        return domain(self.address), self.at.date()


def suppress_dead_mailboxes() -> int:
    """Suppress subscribers whose mailbox two releases did not find; returns how many.

    The releases are at least 72 hours apart, and neither was resumed after a pause. A day on which
    a domain refused more than a tenth of its subscribers so, and at least 20, says more about the
    domain, or about us, than about them, and does not count.
    """
    with read_transaction() as session:
        refusals = _refusals(session)
        doubtful = {
            day
            for day, number in Counter(refusal.day for refusal in refusals).items()
            if number >= _MANY and number * _PART_OF_A_DOMAIN > _subscribers(session, day[0])
        }
    found: defaultdict[int, list[_Refusal]] = defaultdict(list)
    for refusal in refusals:
        if refusal.day not in doubtful:
            found[refusal.subscriber_id].append(refusal)
    dead = [each[-1] for each in found.values() if each[-1].at - each[0].at >= APART]
    with transaction() as session:
        for one in dead:
            session.execute(
                update(Subscriber)
                .where(Subscriber.id == one.subscriber_id, Subscriber.suppressed_at.is_(None))
                .values(suppressed_at=now(), suppressed_by=one.release_id)
            )
    return len(dead)


def _refusals(session: Session) -> Sequence[_Refusal]:
    """Read, oldest first, the refusals of those who are not suppressed yet."""
    rows = session.execute(
        select(Subscriber.id, Subscriber.address, Outcome.release_id, Outcome.at)
        .join(Subscription, Subscription.subscriber_id == Subscriber.id)
        .join(Outcome, Outcome.subscription_id == Subscription.id)
        .join(Release, Release.id == Outcome.release_id)
        .where(
            Outcome.kind == "refused",
            Outcome.reason.in_(NO_SUCH_MAILBOX),
            Subscriber.suppressed_at.is_(None),
            Release.resumed_at.is_(None),
        )
        .order_by(Outcome.at)
    )
    return [_Refusal(*row) for row in rows]


def _subscribers(session: Session, name: str) -> int:
    of_domain = Subscriber.address.endswith(f"@{name}", autoescape=True)
    return session.scalars(select(func.count()).where(of_domain)).one()
