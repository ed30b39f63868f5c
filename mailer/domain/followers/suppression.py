"""Suppression: mailboxes that do not exist, by the evidence of two releases days apart.

A sign-up is answered there now and then, in case the mailbox is there again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, case, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from mailer.mail.addresses import domain
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Outcome, Release, SignUp, Subscriber, Subscription
from mailer.storage.types import Instant, now

NO_SUCH_MAILBOX = ("5.1.1", "5.1.10")
APART = timedelta(hours=72)
_DAY = timedelta(days=1)
_TRIALS_A_DAY, _LETTERS_FOR_A_TRIAL = 20, 100
_WAITS = (timedelta(days=7), timedelta(days=30), timedelta(days=182))
"""How long after its suppression a mailbox is tried first, and how long after each trial again."""
_MANY = 20
_PART_OF_A_DOMAIN = 10
_OTHER = aliased(Subscriber)


def may_be_written_to() -> ColumnElement[bool]:
    """Return the condition that a sign-up of a subscriber may bring a letter.

    If they are suppressed, it is a trial: one after a week, then one after a month, then one each
    half a year, and of all letters of a day 20, or one in a hundred. Its parameters are those of
    `trial_values`.
    """
    waits = [bindparam(f"given_waited_{number}", type_=Instant()) for number in range(len(_WAITS))]
    first, second = Subscriber.tries == 0, Subscriber.tries == 1
    since = case((first, Subscriber.suppressed_at), else_=Subscriber.tried_at)
    trials = (
        select(func.count())
        .select_from(_OTHER)
        .where(_OTHER.tried_at > bindparam("given_a_day_ago"), _OTHER.tries > 0)
        .scalar_subquery()
    )
    # Sign-ups are kept for a day.
    newest, oldest = (select(edge(SignUp.id)).scalar_subquery() for edge in (func.max, func.min))
    trial = and_(
        since < case((first, waits[0]), (second, waits[1]), else_=waits[2]),
        or_(trials < _TRIALS_A_DAY, trials * _LETTERS_FOR_A_TRIAL < newest - oldest),
    )
    return or_(Subscriber.suppressed_at.is_(None), trial)


def trial_values(moment: datetime) -> dict[str, datetime]:
    """Return the parameters of `may_be_written_to`, without their prefix."""
    return {f"waited_{number}": moment - wait for number, wait in enumerate(_WAITS)}


def lift_suppression(person: Subscriber) -> None:
    """Write to a subscriber again, whose mailbox has answered; what refused it before is past."""
    if person.suppressed_at is not None:
        person.suppressed_at = person.suppressed_by = None
        person.tried_at, person.tries = now(), 0


class _Refusal(NamedTuple):
    subscriber_id: int
    address: str
    release_id: int
    at: datetime
    counts: bool
    """Whether it may be evidence: the release did not pause, they are not suppressed yet, and have
    not confirmed since."""


def suppress_dead_mailboxes() -> int:
    """Suppress subscribers whose mailbox two releases did not find; returns how many.

    The releases are at least 72 hours apart, and neither was resumed after a pause. 24 hours in
    which a domain refused more than a tenth of its subscribers so, and at least 20, say more about
    the domain, or about us, than about them, and do not count.
    """
    with read_transaction() as session:
        refusals = _refusals(session)
        doubtful = _doubtful(session, refusals)
    found: defaultdict[int, list[_Refusal]] = defaultdict(list)
    for refusal in refusals:
        if refusal.counts and refusal not in doubtful:
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
    """Read every such refusal, oldest first."""
    counts = and_(
        Subscriber.suppressed_at.is_(None),
        Release.resumed_at.is_(None),
        or_(Subscriber.tried_at.is_(None), Outcome.at > Subscriber.tried_at),
    )
    rows = session.execute(
        select(Subscriber.id, Subscriber.address, Outcome.release_id, Outcome.at, counts)
        .join(Subscription, Subscription.subscriber_id == Subscriber.id)
        .join(Outcome, Outcome.subscription_id == Subscription.id)
        .join(Release, Release.id == Outcome.release_id)
        .where(Outcome.kind == "refused", Outcome.reason.in_(NO_SUCH_MAILBOX))
        .order_by(Outcome.at)
    )
    return [_Refusal(*row) for row in rows]


def _doubtful(session: Session, refusals: Sequence[_Refusal]) -> set[_Refusal]:
    """Return the refusals of any 24 hours in which their domain refused many subscribers."""
    of_domains: defaultdict[str, list[_Refusal]] = defaultdict(list)
    for refusal in refusals:
        of_domains[domain(refusal.address)].append(refusal)
    doubtful: set[_Refusal] = set()
    for name, theirs in of_domains.items():
        if len(theirs) >= _MANY:
            tenth = _subscribers(session, name) // _PART_OF_A_DOMAIN
            doubtful |= _crowded(theirs, max(_MANY, tenth + 1))
    return doubtful


def _crowded(refusals: Sequence[_Refusal], many: int) -> set[_Refusal]:
    """Return the refusals of any 24 hours in which so many subscribers were refused."""
    crowded: set[_Refusal] = set()
    subscribers: Counter[int] = Counter()
    first = noted = 0
    for last, refusal in enumerate(refusals):
        subscribers[refusal.subscriber_id] += 1
        while refusals[first].at <= refusal.at - _DAY:
            gone, first = refusals[first].subscriber_id, first + 1
            subscribers[gone] -= 1
            if not subscribers[gone]:
                del subscribers[gone]
        if len(subscribers) >= many:
            crowded.update(refusals[max(first, noted) : last + 1])
            noted = last + 1
    return crowded


def _subscribers(session: Session, name: str) -> int:
    of_domain = Subscriber.address.endswith(f"@{name}", autoescape=True)
    return session.scalars(select(func.count()).where(of_domain)).one()
