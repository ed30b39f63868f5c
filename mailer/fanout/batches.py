"""Batches of a release's audience: how they are written, claimed and leased."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, exists, insert, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from mailer.storage.database import database_now, identity, json_rows
from mailer.storage.models import Batch, BatchMembers, Release, ReleaseKind

LARGEST_BATCH = 1_000
SMALL_RELEASE = 1_000
"""A release with fewer recipients may use the connection that is reserved for small releases."""
_FREE = (
    Batch.open,
    Batch.lease_until.is_(None),
    or_(Batch.not_before.is_(None), Batch.not_before <= database_now()),
)
# Executed many times a second while a connection is free, so these are built only once.
_WAITING = select(Release.id, Release.total).where(
    Release.finished_at.is_(None),
    Release.database_identity == bindparam("here"),
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
    """A batch that this process owns until the lease runs out, fenced by its epoch."""

    batch_id: int
    epoch: int
    release_id: int
    retry: bool
    letter: ReleaseKind
    members: Sequence[int]
    position: int
    claimed_at: int
    """By the database's clock, in milliseconds."""


def add_batches(
    session: Session,
    release_id: int,
    kind: str,
    pieces: Sequence[Sequence[int]],
    letter: ReleaseKind = "release",
) -> Sequence[int]:
    """Write batches of sorted subscription ids; returns the ids of the batches, in order."""
    ids = session.scalars(
        insert(Batch).returning(Batch.id, sort_by_parameter_order=True),
        [_row(release_id, kind, piece, letter) for piece in pieces],
    ).all()
    members = zip(ids, pieces, strict=True)
    session.execute(
        insert(BatchMembers), [{"batch_id": one, "ids": piece} for one, piece in members]
    )
    return ids


def claim(
    session: Session,
    lease_seconds: int,
    in_hand: Mapping[int, int] | None = None,
    *,
    small: bool = False,
    at_most: int = 1,
) -> list[Claim]:
    """Claim free batches, at most `at_most`; returns none if there are none.

    Each is of the release of which the caller has the fewest batches `in_hand` (their number by
    release id), the oldest of these; with `small`, only small releases are considered. An expired
    lease is not taken over here: the sweep frees it, and lists the recipient as uncertain.
    """
    here = identity(session.connection())
    waiting = session.execute(_WAITING.order_by(Release.id), {"here": here})
    fit = [one for one, total in waiting if total < SMALL_RELEASE or not small]
    taken: list[Claim] = []
    # Lock order: releases by ascending id.
    for release_id, share in sorted(_shares(fit, in_hand or {}, at_most).items()):
        # FOR SHARE: other claims may go on, but a stop waits, since it must see every lease.
        if session.scalar(_SENDING, {"release": release_id}) is not None:
            taken += _take(session, release_id, lease_seconds, share)
    return taken


def renew(connection: Connection, claims: Sequence[Claim], lease_seconds: int) -> list[Claim]:
    """Prolong leases by the database's clock; returns the claims that still have one.

    A batch that was handed back in the meantime has no lease, and gets none.
    """
    rows = [{"id": claim.batch_id, "epoch": claim.epoch} for claim in claims]
    values = {"given": json.dumps(rows), "lease": lease_seconds * 1000}
    renewed = connection.execute(_renewing(connection.dialect.name), values)
    alive = {(row.id, row.epoch) for row in renewed}
    return [claim for claim in claims if (claim.batch_id, claim.epoch) in alive]


def releases_waiting(connection: Connection) -> dict[int, int]:
    """Return the releases that have a free batch: total recipients by release id."""
    rows = connection.execute(_WAITING, {"here": identity(connection)})
    return {row.id: row.total for row in rows}


@lru_cache(maxsize=2)
def _renewing(dialect_name: str) -> ReturningUpdate[int, int]:
    rows = json_rows(dialect_name, "id", "epoch")
    return (
        update(Batch)
        .where(
            Batch.id == rows.c.id,
            Batch.epoch == rows.c.epoch,
            Batch.lease_until.is_not(None),
            Batch.open,
        )
        .values(lease_until=database_now() + bindparam("lease"))
        .returning(Batch.id, Batch.epoch)
        .execution_options(synchronize_session=False)
    )


def _shares(fit: Sequence[int], in_hand: Mapping[int, int], at_most: int) -> Counter[int]:
    """Distribute claims over releases, each to the release with the fewest batches."""
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


def _row(release_id: int, kind: str, members: Sequence[int], letter: ReleaseKind) -> dict[str, Any]:
    return {
        "release_id": release_id,
        "kind": kind,
        "letter": letter,
        "lowest": members[0],
        "highest": members[-1],
        "size": len(members),
    }
