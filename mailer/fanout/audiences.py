"""Audiences: who a release is for, and which letter each of them gets."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Row, Select, or_, select
from sqlalchemy.orm import Session

from mailer.storage.database import database_moment
from mailer.storage.models import (
    Batch,
    BatchMembers,
    Letter,
    Outcome,
    Release,
    Subscriber,
    Subscription,
)

_IDS_A_READ = 2_000
_BATCHES_A_READ = 20
_STOPPED = ("skipped", "stopped")


def audience(session: Session, release: Release) -> Mapping[Letter, Iterable[int]]:
    """Return the ids of the subscriptions for each letter, sorted.

    A first publication is for all who follow and do not pause. A later version is for the audience
    of what went out before it: whoever has that gets a correction or a retraction, and whoever was
    spared by the stop gets the newer version as if there had been no other.
    """
    before = _before(session, release)
    if before is None and release.letter == "retraction":
        return {}
    if before is None:
        followers = _followers(release.publisher_id)
        return {"release": session.scalars(followers.execution_options(yield_per=_IDS_A_READ))}
    told, spared = _account(session, before)
    if release.letter == "retraction":
        return {"retraction": told}
    return {release.letter: told, "release": spared}


def _before(session: Session, release: Release) -> Release | None:
    """Return the newest version before this one that had an audience."""
    while release.replaces_id is not None:
        release = session.get_one(Release, release.replaces_id)
        if release.frozen_at is not None:
            return release
    return None


def _account(session: Session, before: Release) -> tuple[array[int], array[int]]:
    """Part the audience of a finished version: who has a version, and who was spared by a stop.

    Refused or left out for another reason is neither.
    """
    outcomes = {
        row.subscription_id: (row.kind, row.reason)
        for row in session.execute(
            select(Outcome.subscription_id, Outcome.kind, Outcome.reason).where(
                Outcome.release_id == before.id
            )
        )
    }
    told, spared = array("q"), array("q")
    for batch in session.execute(_batches(before.id)):
        for one, sent in _turns(batch, outcomes):
            # Whoever was to hear of a change has the version before that.
            (told if sent or batch.letter != "release" else spared).append(one)
    return array("q", sorted(told)), array("q", sorted(spared))


def _turns(
    batch: Row[int, Letter, Sequence[int]], outcomes: Mapping[int, tuple[str, str]]
) -> Iterator[tuple[int, bool]]:
    """Give the members who have the message, and those whom a stop has spared it."""
    for index, one in enumerate(batch.ids):
        outcome = outcomes.get(one)
        if outcome is None:
            yield one, index < batch.position
        elif outcome == _STOPPED:
            yield one, False


def _batches(release_id: int) -> Select[int, Letter, Sequence[int]]:
    return (
        select(Batch.position, Batch.letter, BatchMembers.ids)
        .join(BatchMembers, BatchMembers.batch_id == Batch.id)
        .where(Batch.release_id == release_id, Batch.kind == "first")
        .order_by(Batch.id)
        .execution_options(yield_per=_BATCHES_A_READ)
    )


def _followers(publisher_id: int) -> Select[int]:
    return (
        select(Subscription.id)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(
            Subscription.publisher_id == publisher_id,
            Subscription.confirmed_at.is_not(None),
            Subscription.ended_at.is_(None),
            or_(
                Subscription.paused_until.is_(None), Subscription.paused_until <= database_moment()
            ),
            Subscriber.suppressed_at.is_(None),
        )
        .order_by(Subscription.id)
    )
