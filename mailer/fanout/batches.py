"""Batches: freezing the audience of a release, and claiming a piece of it to send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Select, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from mailer.domain.clock import now
from mailer.domain.releases import settle
from mailer.storage.database import database_now, identity
from mailer.storage.models import Batch, Release, Subscriber, Subscription

LARGEST_BATCH = 1_000
_ROWS_AN_INSERT = 200
_IDS_A_READ = 20_000
_FREE = (
    Batch.open,
    Batch.lease_until.is_(None),
    or_(Batch.not_before.is_(None), Batch.not_before <= database_now()),
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that is ours until the lease runs out, fenced by its epoch."""

    batch_id: int
    epoch: int
    release_id: int
    retry: bool
    members: list[int]
    position: int


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who a subscription id stands for at this moment, and whether to send at all."""

    address: str
    locale: str
    skip: str | None
    """The reason to leave them out: left, gone or suppressed."""


def freeze_next(session: Session, connections: int) -> int | None:
    """Write the audience of one due release into batches; returns its id, or None.

    All or nothing: a crash rolls everything back, and the release is frozen again.
    """
    release = session.scalar(
        _due().order_by(Release.starts_at).limit(1).with_for_update(skip_locked=True)
    )
    if release is None:
        return None
    release.total = _write_batches(session, release, connections)
    release.state = "sending"
    release.frozen_at = now()
    release.frozen_in = identity(session)
    session.flush()
    settle(session, release.id)
    return release.id


def _write_batches(session: Session, release: Release, connections: int) -> int:
    """Read the audience as a stream, write it as batches, and return how many they are."""
    audience = _audience(release.publisher_id)
    expected = session.scalar(select(func.count()).select_from(audience.order_by(None).subquery()))
    size = batch_size(expected or 0, connections)
    ids = iter(session.scalars(audience.execution_options(yield_per=_IDS_A_READ)))
    total = 0
    rows = (new_batch(release.id, "first", members) for members in _pieces(ids, size))
    while block := list(islice(rows, _ROWS_AN_INSERT)):
        session.execute(insert(Batch), block)
        total += sum(row["size"] for row in block)
    return total


def _pieces(ids: Iterator[int], size: int) -> Iterator[list[int]]:
    while piece := list(islice(ids, size)):
        yield piece


def batch_size(total: int, connections: int) -> int:
    """Choose a size by which even a small list keeps every connection busy."""
    return max(1, min(LARGEST_BATCH, -(-total // (4 * connections))))


def new_batch(release_id: int, kind: str, members: list[int]) -> dict[str, Any]:
    """Lay out the row of a batch; members are sorted subscription ids."""
    return {
        "release_id": release_id,
        "kind": kind,
        "members": members,
        "lowest": members[0],
        "highest": members[-1],
        "size": len(members),
    }


def claim(session: Session, lease_seconds: int) -> Claim | None:
    """Take the oldest batch that is free; returns None if there is none.

    A lease that ran out is not taken over here: the sweep frees it, and notes who is
    uncertain.
    """
    waiting = select(Release.id).where(
        Release.state == "sending", exists().where(Batch.release_id == Release.id, *_FREE)
    )
    for release_id in session.scalars(waiting.order_by(Release.id)).all():
        # Shared with other claims, and closed to a stop, which must see every lease.
        sending = select(Release.id).where(Release.id == release_id, Release.state == "sending")
        if session.scalar(sending.with_for_update(read=True)) is None:
            continue
        if (taken := _take(session, release_id, lease_seconds)) is not None:
            return taken
    return None


def work_is_waiting(session: Session) -> bool:
    """Tell whether a release is due to be frozen, or a batch free to be claimed."""
    free = exists().where(Batch.release_id == Release.id, *_FREE)
    sending = select(exists().where(Release.state == "sending", free))
    return bool(session.scalar(sending)) or session.scalar(_due().limit(1)) is not None


def _due() -> Select[Release]:
    return select(Release).where(
        Release.finished_at.is_(None),
        Release.frozen_at.is_(None),
        Release.state.in_(("scheduled", "held", "sending")),
        Release.starts_at <= now(),
    )


def _take(session: Session, release_id: int, lease_seconds: int) -> Claim | None:
    candidate = (
        select(Batch.id)
        .where(Batch.release_id == release_id, *_FREE)
        .order_by(Batch.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    row = session.execute(
        update(Batch)
        .where(Batch.id == candidate)
        .values(
            epoch=Batch.epoch + 1,
            lease_until=database_now() + lease_seconds * 1000,
            not_before=None,
        )
        .returning(Batch.id, Batch.epoch, Batch.kind, Batch.members, Batch.position)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    return Claim(row.id, row.epoch, release_id, row.kind == "retry", row.members, row.position)


def look_up(session: Session, ids: Sequence[int]) -> dict[int, Recipient]:
    """Read the subscriptions as they are now; an id that is missing is gone."""
    rows = session.execute(
        select(
            Subscription.id,
            Subscription.locale,
            Subscription.ended_at,
            Subscriber.address,
            Subscriber.suppressed_at,
        )
        .outerjoin(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(Subscription.id.in_(ids))
    )
    found = {
        row.id: Recipient(
            address=row.address or "",
            locale=row.locale,
            skip="gone"
            if row.address is None
            else "left"
            if row.ended_at is not None
            else "suppressed"
            if row.suppressed_at is not None
            else None,
        )
        for row in rows
    }
    missing = Recipient(address="", locale="", skip="gone")
    return {one: found.get(one, missing) for one in ids}


def _audience(publisher_id: int) -> Select[int]:
    return (
        select(Subscription.id)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(
            Subscription.publisher_id == publisher_id,
            Subscription.confirmed_at.is_not(None),
            Subscription.ended_at.is_(None),
            Subscriber.suppressed_at.is_(None),
        )
        .order_by(Subscription.id)
    )
