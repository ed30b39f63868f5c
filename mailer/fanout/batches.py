"""Batches: pieces of a release's audience, claimed one at a time and fenced by an epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from mailer.storage.database import database_now, identity
from mailer.storage.models import Batch, BatchMembers, Letter, Release

LARGEST_BATCH = 1_000
SMALL_RELEASE = 1_000
"""Below this many recipients a release need not wait for a larger one."""
_FREE = (
    Batch.open,
    Batch.lease_until.is_(None),
    or_(Batch.not_before.is_(None), Batch.not_before <= database_now()),
)
# Asked many times a second while a connection is free, so they are put together only once.
_WAITING = select(Release.id, Release.total).where(
    Release.finished_at.is_(None),
    Release.kept_in == bindparam("here"),
    Release.state == "sending",
    exists().where(Batch.release_id == Release.id, *_FREE),
)
_SENDING = (
    select(Release.id)
    .where(Release.id == bindparam("release"), Release.state == "sending")
    .with_for_update(read=True)
)
_PICKED = (
    select(Batch.id)
    .where(Batch.release_id == bindparam("release"), *_FREE)
    .order_by(Batch.id)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True)
    .cte("picked")
)
_TAKE = (
    update(Batch)
    .where(Batch.id.in_(select(_PICKED.c.id)))
    .values(
        epoch=Batch.epoch + 1,
        lease_until=database_now() + bindparam("lease"),
        not_before=None,
    )
    .returning(Batch.id, Batch.epoch, Batch.kind, Batch.letter, Batch.position, Batch.lease_until)
    .execution_options(synchronize_session=False)
)


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A batch that is ours until the lease runs out, fenced by its epoch."""

    batch_id: int
    epoch: int
    release_id: int
    retry: bool
    letter: Letter
    members: Sequence[int]
    position: int
    claimed_at: int
    """By the database's clock, in milliseconds."""


def add_batches(
    session: Session,
    release_id: int,
    kind: str,
    pieces: Sequence[Sequence[int]],
    letter: Letter = "release",
) -> Sequence[int]:
    """Write batches of sorted subscription ids; returns the ids of the batches, in order."""
    ids = session.scalars(
        insert(Batch).returning(Batch.id, sort_by_parameter_order=True),
        [_row(release_id, kind, piece, letter) for piece in pieces],
    ).all()
    members = zip(ids, pieces, strict=True)
    session.execute(insert(BatchMembers), [{"batch_id": one, "ids": ids} for one, ids in members])
    return ids


def claim(
    session: Session,
    lease_seconds: int,
    in_hand: Mapping[int, int] | None = None,
    *,
    small: bool = False,
    at_most: int = 1,
) -> list[Claim]:
    """Take batches that are free; returns none if there are none.

    Each is of the release of which the caller has the fewest `in_hand` (batches by release
    id), the oldest of these; with `small`, only small releases are looked at. A lease that ran
    out is not taken over here: the sweep frees it, and notes who is uncertain.
    """
    here = identity(session.connection())
    waiting = session.execute(_WAITING.order_by(Release.id), {"here": here})
    fit = [one for one, total in waiting if total < SMALL_RELEASE or not small]
    taken: list[Claim] = []
    # In order, as everybody who locks several releases does it.
    for release_id, share in sorted(_shares(fit, in_hand or {}, at_most).items()):
        # Shared with other claims, and closed to a stop, which must see every lease.
        if session.scalar(_SENDING, {"release": release_id}) is not None:
            taken += _take(session, release_id, lease_seconds, share)
    return taken


def releases_waiting(connection: Connection) -> dict[int, int]:
    """Return all releases of which a batch is free: their ids, each with the size in total."""
    rows = connection.execute(_WAITING, {"here": identity(connection)})
    return {row.id: row.total for row in rows}


def _shares(fit: Sequence[int], in_hand: Mapping[int, int], at_most: int) -> Counter[int]:
    """Share out what may be taken, one by one to the release with the fewest."""
    shares: Counter[int] = Counter()
    for _ in range(at_most if fit else 0):
        shares[min(fit, key=lambda one: in_hand.get(one, 0) + shares[one])] += 1
    return shares


def _take(session: Session, release_id: int, lease_seconds: int, at_most: int) -> list[Claim]:
    lease = lease_seconds * 1000
    values = {"release": release_id, "lease": lease, "at_most": at_most}
    rows = sorted(session.execute(_TAKE, values))
    of_these = BatchMembers.batch_id.in_([row.id for row in rows])
    packed = session.execute(select(BatchMembers.batch_id, BatchMembers.ids).where(of_these))
    members = {row.batch_id: row.ids for row in packed}
    return [
        Claim(
            batch_id=row.id,
            epoch=row.epoch,
            release_id=release_id,
            retry=row.kind == "retry",
            letter=row.letter,
            members=members[row.id],
            position=row.position,
            claimed_at=row.lease_until - lease,
        )
        for row in rows
    ]


def _row(release_id: int, kind: str, members: Sequence[int], letter: Letter) -> dict[str, Any]:
    return {
        "release_id": release_id,
        "kind": kind,
        "letter": letter,
        "lowest": members[0],
        "highest": members[-1],
        "size": len(members),
    }
