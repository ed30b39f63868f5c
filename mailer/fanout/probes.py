"""Probes: which recipient the relay is tried with while it refuses everybody."""

from __future__ import annotations

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.orm import Session

from mailer.fanout.answers import backoff
from mailer.fanout.batches import FREE, MAY_BE_SENT, Claim, add_batches, claim_batch
from mailer.fanout.outbox import messages_are_waiting
from mailer.storage.models import Batch, Outcome, Release
from mailer.storage.sql import database_now
from mailer.storage.types import now

_PROBED_BATCHES = 1_000
"""Of each release."""


def something_to_probe_with(session: Session) -> bool:
    """Tell whether a release that may be sent has a recipient left."""
    batch = exists().where(Batch.release_id == Release.id, *FREE)
    deferred = exists().where(
        Outcome.release_id == Release.id, Outcome.kind == "deferred", Outcome.batch_id.is_(None)
    )
    found = select(Release.id).where(*MAY_BE_SENT, or_(batch, deferred)).limit(1)
    return session.scalar(found) is not None


def end_if_all_were_refused(session: Session) -> None:
    """End the relay backoff after an hour if it helps no letter, and no recipient never tried."""
    batch = exists().where(Batch.release_id == Release.id, Batch.kind == "first", *FREE)
    untried = session.scalar(select(Release.id).where(*MAY_BE_SENT, batch).limit(1))
    if untried is None and not messages_are_waiting(session):
        backoff.end_long(session.connection())


def claim_for_probe(session: Session, lease_seconds: int, number: int) -> list[Claim]:
    """Claim one batch to probe the relay with; returns none if there is nothing to send.

    In turn of a recipient never tried, of one release after another and of one batch of it after
    another, and of the one deferred longest ago: a relay that greylists refuses the former, and a
    full mailbox may be among the latter.
    """
    _dissolve_retries(session)
    if number % 2 == 0 and (claimed := _claim_deferred(session, lease_seconds)):
        return claimed
    place = func.row_number().over(partition_by=Batch.release_id, order_by=Batch.id)
    free = (
        select(Batch.id, Batch.release_id, place.label("place"))
        .join(Release, Release.id == Batch.release_id)
        .where(*MAY_BE_SENT, Batch.kind == "first", *FREE)
        .subquery()
    )
    found = session.execute(
        select(free.c.id, free.c.release_id)
        .where(free.c.place <= _PROBED_BATCHES)
        .order_by(free.c.id)
    ).all()
    new: dict[int, list[int]] = {}
    for batch_id, release_id in found:
        new.setdefault(release_id, []).append(batch_id)
    if not new:
        return _claim_deferred(session, lease_seconds)
    rounds, turn = divmod(number // 2, len(new))
    release_id, batches = list(new.items())[turn]
    return claim_batch(session, release_id, batches[rounds % len(batches)], lease_seconds)


def _dissolve_retries(session: Session) -> None:
    """Take recipients out of free retry batches, so that each of them can be probed with."""
    free = session.scalars(
        select(Batch.id)
        .join(Release, Release.id == Batch.release_id)
        .where(*MAY_BE_SENT, Batch.kind == "retry", *FREE)
        .with_for_update(of=Batch, skip_locked=True)
    ).all()
    if free:
        session.execute(
            update(Outcome)
            .where(Outcome.batch_id.in_(free), Outcome.kind == "deferred")
            .values(batch_id=None, next_at=database_now())
        )
        session.execute(update(Batch).where(Batch.id.in_(free)).values(open=False))


def _claim_deferred(session: Session, lease_seconds: int) -> list[Claim]:
    """Claim a batch of one: the recipient who was tried longest ago.

    Whose next refusal is believed keeps the hour until then.
    """
    outcome = session.scalar(
        select(Outcome)
        .join(Release, Release.id == Outcome.release_id)
        .where(
            *MAY_BE_SENT,
            Outcome.kind == "deferred",
            Outcome.batch_id.is_(None),
            or_(~Outcome.marked, Outcome.next_at <= database_now()),
        )
        .order_by(Outcome.at)
        .limit(1)
        .with_for_update(of=Outcome, skip_locked=True)
    )
    if outcome is None:
        return []
    one = [[outcome.subscription_id]]
    [batch_id] = add_batches(session, outcome.release_id, "retry", one, outcome.letter)
    outcome.batch_id, outcome.next_at, outcome.at = batch_id, None, now()
    session.flush()
    return claim_batch(session, outcome.release_id, batch_id, lease_seconds)
