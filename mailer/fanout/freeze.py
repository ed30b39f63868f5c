"""Freezing: the audience of a release is written once, when its sending starts."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from sqlalchemy import Connection, Row, Select, and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from mailer.domain.releases.lifecycle import finish_if_complete
from mailer.fanout.batches import (
    LARGEST_BATCH,
    MOST_BATCHES_A_CONNECTION,
    add_batches,
    batch_size,
)
from mailer.storage.models import (
    Batch,
    BatchMembers,
    Outcome,
    Release,
    ReleaseKind,
    Subscriber,
    Subscription,
    Uncertain,
)
from mailer.storage.sql import database_timestamp
from mailer.storage.types import now

_BATCHES_AN_INSERT = 64
_IDS_A_READ = 2_000
_BATCHES_A_READ = 20
_STOPPED, _UNANSWERED = ("skipped", "stopped"), ("skipped", "unanswered")

log = logging.getLogger(__name__)

_BEFORE = aliased(Release)
_STARTS_NOW = and_(
    Release.state.in_(("scheduled", "held")), Release.starts_at <= database_timestamp()
)
_DUE = (
    select(Release)
    .where(
        Release.finished_at.is_(None),
        Release.frozen_at.is_(None),
        or_(Release.state == "sending", _STARTS_NOW),
        # The version before must be finished: its outcomes decide which letter a recipient gets.
        or_(
            Release.replaces_id.is_(None),
            exists().where(_BEFORE.id == Release.replaces_id, _BEFORE.finished_at.is_not(None)),
        ),
    )
    .order_by(Release.starts_at)
    .limit(1)
)
# Executed many times a second, so it reads the id alone.
_IS_DUE = _DUE.with_only_columns(Release.id)


def freeze_next(session: Session, connections: int) -> int | None:
    """Write the audience of one due release into batches; returns its id, or None.

    All or nothing: a crash rolls back everything, and the release is frozen again.
    """
    next_one = _DUE.with_for_update(skip_locked=True)
    release = session.scalar(next_one)
    if release is None:
        return None
    release.total = sum(
        _write_batches(session, release.id, letter, ids, connections)
        for letter, ids in audience(session, release).items()
    )
    release.state = "sending"
    release.frozen_at = now()
    log.info("Release %d is sending, to %d recipients.", release.id, release.total)
    session.flush()
    finish_if_complete(session, release.id)
    return release.id


def release_is_due(connection: Connection) -> bool:
    """Tell whether a release is due and not yet frozen."""
    return connection.execute(_IS_DUE).first() is not None


def _write_batches(
    session: Session,
    release_id: int,
    letter: ReleaseKind,
    audience: Iterable[int],
    connections: int,
) -> int:
    """Read an audience as a stream, write it as batches, and return the number of recipients."""
    ids = iter(audience)
    # An audience larger than this has batches of the largest size, so it is not counted.
    first = array("q", islice(ids, MOST_BATCHES_A_CONNECTION * connections * LARGEST_BATCH))
    pieces = _pieces(chain(first, ids), batch_size(len(first), connections))
    total = 0
    while block := list(islice(pieces, _BATCHES_AN_INSERT)):
        add_batches(session, release_id, "first", block, letter)
        total += sum(map(len, block))
    return total


def _pieces(ids: Iterator[int], size: int) -> Iterator[Sequence[int]]:
    while piece := array("q", islice(ids, size)):
        yield piece


def audience(session: Session, release: Release) -> Mapping[ReleaseKind, Iterable[int]]:
    """Return the ids of the subscriptions for each letter, sorted.

    The first version with an audience is for every confirmed follower who has not paused. A
    correction is for recipients who have the version before, and as a release for those whom its
    stop skipped; a retraction is for the former alone.
    """
    before = _before(session, release)
    if before is None and release.letter == "retraction":
        return {}
    if before is None:
        followers = _followers(release.publisher_id)
        return {"release": session.scalars(followers.execution_options(yield_per=_IDS_A_READ))}
    have_it, stopped = _split_audience(session, before)
    if release.letter == "retraction":
        return {"retraction": have_it}
    return {release.letter: have_it, "release": stopped}


def _before(session: Session, release: Release) -> Release | None:
    """Return the newest version before this one that had an audience."""
    while release.replaces_id is not None:
        release = session.get_one(Release, release.replaces_id)
        if release.frozen_at is not None:
            return release
    return None


def _split_audience(session: Session, before: Release) -> tuple[array[int], array[int]]:
    """Return, of a finished version's audience, those who have a version and those stopped before.

    Recipients who were refused, or skipped for another reason, are in neither.
    """
    outcomes = {
        row.subscription_id: (row.kind, row.reason)
        for row in session.execute(
            select(Outcome.subscription_id, Outcome.kind, Outcome.reason).where(
                Outcome.release_id == before.id
            )
        )
    }
    uncertain = set(
        session.scalars(select(Uncertain.subscription_id).where(Uncertain.release_id == before.id))
    )
    have_it, stopped = array("q"), array("q")
    for batch in session.execute(_batches(before.id)):
        for one, sent in _accepted_or_stopped(batch, outcomes, uncertain):
            # The recipient of a correction or retraction has the version before that.
            (have_it if sent or batch.letter != "release" else stopped).append(one)
    return array("q", sorted(have_it)), array("q", sorted(stopped))


def _accepted_or_stopped(
    batch: Row[int, ReleaseKind, Sequence[int]],
    outcomes: Mapping[int, tuple[str, str]],
    uncertain: Collection[int],
) -> Iterator[tuple[int, bool]]:
    """Yield members of a batch, each with whether the message was accepted or stopped before.

    Whose dot was not answered has probably got it.
    """
    for index, one in enumerate(batch.ids):
        outcome = outcomes.get(one)
        if outcome is None:
            yield one, index < batch.position
        elif outcome == _UNANSWERED:
            yield one, True
        elif outcome == _STOPPED:
            yield one, one in uncertain


def _batches(release_id: int) -> Select[int, ReleaseKind, Sequence[int]]:
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
                Subscription.paused_until.is_(None),
                Subscription.paused_until <= database_timestamp(),
            ),
            Subscriber.suppressed_at.is_(None),
        )
        .order_by(Subscription.id)
    )
