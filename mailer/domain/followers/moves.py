"""The rows that move in a change of address, and what becomes of those that are there already.

All of a press room moves, open and ended, so that every link goes on working; what stays is one
ended row, by which an import knows that they have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, delete, exists, select
from sqlalchemy.orm import Session

from mailer.domain.followers.subscriptions import Evidence, record_consent
from mailer.storage.models import AddressChange, MovingSubscription, Release, Subscription
from mailer.storage.types import now


def parts(change: AddressChange) -> Select[Subscription]:
    """Select the subscriptions that a change is about."""
    return (
        select(Subscription)
        .join(MovingSubscription)
        .where(MovingSubscription.address_change_id == change.id)
        .order_by(Subscription.id)
    )


def is_to_move() -> ColumnElement[bool]:
    """Return the condition that the asking subscriber still follows by a subscription."""
    asking = Subscription.subscriber_id == AddressChange.subscriber_id
    return and_(asking, Subscription.ended_at.is_(None))


def give(
    session: Session, change: AddressChange, person: int, moment: datetime, evidence: Evidence
) -> tuple[Sequence[Subscription], Sequence[Subscription]]:
    """Give a subscriber what another still follows of a change, and what of that had ended.

    Returns both. Where the new subscriber follows the same press room, one of the two ends.
    """
    following = session.scalars(parts(change).join(AddressChange).where(is_to_move())).all()
    past: list[Subscription] = []
    for one in following:
        if not _goes_on(session, one, person, moment, evidence):
            _merge(session, one, moment, evidence)
        past += _rows_of(session, change.subscriber_id, one.publisher_id, but=one)
        session.add(_left_behind(one, moment))
    for one in (*following, *past):
        one.subscriber_id = person
    for one in following:
        record_consent(session, one, "moved", evidence, None)
    return following, past


def bring_back(session: Session, change: AddressChange, evidence: Evidence) -> None:
    """Bring home what had moved, wherever it is now, as it was: open, and beside what was merged.

    Later changes of the same subscriptions are void, else their mailboxes could undo this.
    """
    moment = now()
    there = parts(change).where(Subscription.subscriber_id.is_not(None))
    found = session.execute(there.add_columns(MovingSubscription.goes_on)).all()
    for one, goes_on in found:
        holder = one.subscriber_id
        leaves = one.ended_at is None and holder != change.subscriber_id
        if goes_on:
            record_consent(session, one, "moved", evidence, None)
            if _goes_on(session, one, change.subscriber_id, moment, evidence):
                one.ended_at = one.ended_reason = None
            else:
                _merge(session, one, moment, evidence)
        one.subscriber_id = change.subscriber_id
        session.flush()
        for other in _rows_of(session, holder, one.publisher_id, but=one) if leaves else ():
            if other.ended_reason == "merged" and other.ended_at == change.requested_at:
                other.ended_at = other.ended_reason = None
    if not found:
        return
    change.done_at = moment
    touched = select(MovingSubscription.address_change_id).where(
        MovingSubscription.subscription_id.in_([one.id for one, _ in found])
    )
    later = delete(AddressChange).where(AddressChange.id > change.id, AddressChange.id.in_(touched))
    session.execute(later)


def _goes_on(
    session: Session, one: Subscription, person: int, moment: datetime, evidence: Evidence
) -> bool:
    """Tell whether a subscription goes on with a new subscriber, and end another that then cannot.

    Of two, the first that was confirmed goes on, since it may have got what is corrected later;
    but while a release is sent that the other has, too, that one: its mailbox would get it twice.
    """
    others = _rows_of(session, person, one.publisher_id, but=one)
    other = next((each for each in others if each.ended_at is None), None)
    if other is None:
        return True
    if other.confirmed_at is not None and one.confirmed_at is not None:
        sent_now = exists().where(
            Release.publisher_id == one.publisher_id,
            Release.finished_at.is_(None),
            Release.frozen_at > other.confirmed_at,
        )
        if other.confirmed_at <= one.confirmed_at or session.scalar(select(sent_now)):
            return False
    _merge(session, other, moment, evidence)
    return True


def _merge(session: Session, ends: Subscription, moment: datetime, evidence: Evidence) -> None:
    ends.ended_at, ends.ended_reason = moment, "merged"
    record_consent(session, ends, "merged", evidence, None)
    session.flush()


def _rows_of(
    session: Session, person: int | None, publisher_id: int, *, but: Subscription
) -> Sequence[Subscription]:
    return session.scalars(
        select(Subscription).where(
            Subscription.subscriber_id == person,
            Subscription.publisher_id == publisher_id,
            Subscription.id != but.id,
        )
    ).all()


def _left_behind(one: Subscription, moment: datetime) -> Subscription:
    """Return the row by which an import knows that the address before is not to be added again."""
    return Subscription(
        subscriber_id=one.subscriber_id,
        publisher_id=one.publisher_id,
        locale=one.locale,
        requested_at=one.requested_at,
        ended_at=moment,
        ended_reason="moved",
    )
