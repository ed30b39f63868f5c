"""The preferences of a follower: the language of the mails, and a pause.

Each is a column of the subscription and a button on one page. A new preference, such as how often
or about what, is one more of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers.address_change import has_way_back
from mailer.domain.followers.subscriptions import (
    Evidence,
    SubscriptionView,
    record_consent,
    subscription_of,
    view_of,
)
from mailer.domain.outbox import queue_letter, under_letter_limit
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Publisher, Subscriber, Subscription
from mailer.storage.queues import wake
from mailer.storage.types import now

PAUSES = (2, 4, 13)
"""The numbers of weeks that a follower may choose for a pause."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences of a subscription, and the subscriber's other subscriptions."""

    view: SubscriptionView
    paused_until: datetime | None
    others: Sequence[SubscriptionView]
    """The subscriptions to other press rooms that the subscriber follows, by their names."""


def look_up(subscription_id: int) -> Preferences | None:
    """Return the preferences of a subscription, None if it has ended. Raises InvalidLink."""
    with read_transaction() as session:
        subscription = subscription_of(session, subscription_id)
        if subscription.ended_at is not None or subscription.subscriber_id is None:
            return None
        until = subscription.paused_until
        return Preferences(
            view=view_of(session, subscription),
            paused_until=until if until and until > now() else None,
            others=_others(session, subscription),
        )


def change_language(subscription_id: int, locale: str, evidence: Evidence) -> None:
    """Set the language of an open subscription's mails. Idempotent. Raises InvalidLink."""
    with transaction() as session:
        subscription = subscription_of(session, subscription_id, lock=True)
        if subscription.ended_at is None and subscription.locale != locale:
            subscription.locale = locale
            record_consent(session, subscription, "language", evidence, None)


def pause(subscription_id: int, weeks: int, evidence: Evidence) -> None:
    """Pause an open subscription for some weeks; raises InvalidLink."""
    # Cut to midnight UTC, so that a button pressed twice in a day is one pause.
    until = (now() + timedelta(weeks=weeks)).replace(hour=0, minute=0, second=0, microsecond=0)
    _pause(subscription_id, until, evidence)


def end_pause(subscription_id: int, evidence: Evidence) -> None:
    """End a pause before its time. Idempotent. Raises InvalidLink."""
    _pause(subscription_id, None, evidence)


def ask_for_link(settings: Settings, subscription_id: int) -> bool:
    """Mail the subscriber a link to their data, unless suppressed or over the letter limit.

    It also works for an ended subscription: its data is kept until erasure or retention ends.
    False says that none is sent yet, since the address was changed less than 30 days ago, and
    the mailbox of before can still take that back. The caller gives visitors the same answer in
    every other case. Raises InvalidLink.
    """
    with transaction() as session:
        # As in a sign-up: letters to one subscriber are counted by one transaction at a time.
        subscription = subscription_of(session, subscription_id, lock=True)
        if has_way_back(session, subscription):
            return False
        if subscription.subscriber_id is not None:
            person = session.get_one(Subscriber, subscription.subscriber_id)
            if person.suppressed_at is None and under_letter_limit(session, subscription):
                queue_letter(session, "manage", subscription)
    wake(settings.redis_url, "letters")
    return True


def is_held(subscription_id: int) -> bool:
    """Tell whether the data of the subscriber is kept closed, as in `ask_for_link`."""
    with read_transaction() as session:
        return has_way_back(session, subscription_of(session, subscription_id))


def _pause(subscription_id: int, until: datetime | None, evidence: Evidence) -> None:
    with transaction() as session:
        subscription = subscription_of(session, subscription_id, lock=True)
        if subscription.ended_at is None and subscription.paused_until != until:
            subscription.paused_until = until
            record_consent(session, subscription, "paused" if until else "taken up", evidence, None)


def _others(session: Session, subscription: Subscription) -> Sequence[SubscriptionView]:
    found = session.scalars(
        select(Subscription)
        .join(Publisher, Publisher.id == Subscription.publisher_id)
        .where(
            Subscription.subscriber_id == subscription.subscriber_id,
            Subscription.id != subscription.id,
            Subscription.confirmed_at.is_not(None),
            Subscription.ended_at.is_(None),
        )
        .order_by(Publisher.name, Subscription.id)
    )
    return [view_of(session, one) for one in found]
