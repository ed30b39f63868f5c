"""Batches of a release's audience: how they are written, claimed and leased."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    exists,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningUpdate

from mailer.fanout.dates import CLAIMED_DATE, dates_of_copies
from mailer.storage.generation import Numbered, is_current
from mailer.storage.leases import Key, is_free, taken
from mailer.storage.models import (
    Batch,
    BatchMembers,
    Generation,
    Outcome,
    RelayState,
    Release,
    ReleaseKind,
)
from mailer.storage.sql import database_now

LARGEST_BATCH = 1_000
SMALL_RELEASE = 1_000
"""A release with fewer recipients may use the connection that is reserved for small releases."""
MOST_BATCHES_A_CONNECTION = 4
_MANY_BATCHES = 128
FREE = (Batch.open, *is_free(Batch))
_LEASED_BATCH = aliased(Batch)
_LEASED = exists().where(
    _LEASED_BATCH.release_id == Release.id,
    _LEASED_BATCH.open,
    _LEASED_BATCH.lease_until.is_not(None),
)
MAY_BE_SENT = (
    Release.finished_at.is_(None),
    Release.state == "sending",
    or_(Release.not_before.is_(None), Release.not_before <= database_now()),
    # After a rest, one batch finds out whether the relay takes the sender again.
    or_(Release.rests == 0, ~_LEASED),
)
# Executed many times a second while a connection is free, so these are built only once.
_WAITING = select(Release.id, Release.total).where(
    *MAY_BE_SENT,
    exists().where(Batch.release_id == Release.id, *FREE),
    ~exists().where(RelayState.id == 1, RelayState.probe_after.is_not(None)),
)
_SENDING = (
    select(Release.id, Release.rests, Release.frozen_at, Generation.name, Generation.number)
    .join(Generation, Generation.id == 1)
    .where(Release.id == bindparam("release"), Release.state == "sending")
    .with_for_update(read=True, of=Release)
)
_Taking = ReturningUpdate[int, int, str, ReleaseKind, int, int | None, int | None, int | None]
_NEW_FIRST, _RETRIES_FIRST = (Batch.id,), (Batch.kind.desc(), Batch.id)


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A batch that this process owns until the lease runs out, fenced by its epoch."""

    batch_id: int
    epoch: int
    release_id: int
    retry: bool
    letter: ReleaseKind
    members: array[int]
    """Their subscription ids; fewer after a split."""
    position: int
    claimed_at: int
    """By the database's clock, in milliseconds."""
    rests: int = 0
    """How often the batches of the release have rested, because its sender was refused."""
    probe: bool = False
    """Whether it is sent to find out whether the relay is well: one message, then the rest."""
    dated_at: int = 0
    """The Date of its messages, in milliseconds since 1970."""
    dates: Mapping[int, int] = field(default_factory=dict)
    """The Dates of members who may have a copy already, by subscription id."""

    def date_of(self, subscription_id: int) -> int:
        """Return the Date of the message to a member, in milliseconds since 1970."""
        return self.dates.get(subscription_id, self.dated_at)

    @property
    def key(self) -> Key:
        """The id of the row, and its epoch."""
        return self.batch_id, self.epoch


def batch_size(total: int, connections: int) -> int:
    """Return a batch size by which even a small audience keeps every connection busy to the end.

    The last connection takes no large release. Four batches for each of the others let more
    workers take part; where that makes many, two are enough, as each costs a transaction.
    """
    used = connections if total < SMALL_RELEASE else max(1, connections - 1)
    batches = max(2 * used, min(MOST_BATCHES_A_CONNECTION * used, _MANY_BATCHES))
    return max(1, min(LARGEST_BATCH, -(-total // batches)))


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
    after: int = 0,
    small: bool = False,
    at_most: int = 1,
    retries_first: bool = False,
) -> list[Claim]:
    """Claim free batches, at most `at_most`; returns none if there are none.

    Each is of the release of which the caller has the fewest batches `in_hand` (their number by
    release id); of several, of the one that follows the release `after`, so that they take turns
    even on one connection. With `small`, only small releases are considered. An expired lease is
    not taken over here: the sweep frees it, and lists the recipient as uncertain.
    """
    waiting = session.execute(_WAITING.order_by(Release.id))
    fit = [one for one, total in waiting if total < SMALL_RELEASE or not small]
    fit.sort(key=lambda one: one <= after)
    claims: list[Claim] = []
    order = _RETRIES_FIRST if retries_first else _NEW_FIRST
    # Lock order: releases by ascending id.
    for release_id, share in sorted(_shares(fit, in_hand or {}, at_most).items()):
        claims += _take(session, release_id, lease_seconds, _picked(order), at_most=share)
    return claims


def claim_batch(
    session: Session, release_id: int, batch_id: int, lease_seconds: int
) -> list[Claim]:
    """Claim a batch to probe the relay with; returns none if it is not free any more."""
    picked = _picked(_NEW_FIRST, Batch.id == batch_id)
    return _take(session, release_id, lease_seconds, picked, probe=True)


def split(session: Session, claimed: Claim, kept: int, connections: int) -> bool:
    """Let other connections have the members of a claimed batch after the first `kept`.

    Those of a first batch get batches of their own; those of a retry batch are due at once.
    Returns False if the lease is lost or the release is not sending: then nothing is changed.
    """
    release = session.execute(_SENDING, {"release": claimed.release_id}).one_or_none()
    batch = session.get_one(Batch, claimed.batch_id, with_for_update=True)
    if release is None or batch.epoch != claimed.epoch:
        return False
    members = session.get_one(BatchMembers, batch.id)
    rest, members.ids, batch.size = members.ids[kept:], members.ids[:kept], kept
    if rest and claimed.retry:
        theirs = Outcome.batch_id == batch.id, Outcome.subscription_id.in_(rest)
        session.execute(
            update(Outcome).where(*theirs).values(batch_id=None, next_at=database_now())
        )
    elif rest:
        size = batch_size(len(rest), connections)
        pieces = [rest[first : first + size] for first in range(0, len(rest), size)]
        add_batches(session, claimed.release_id, batch.kind, pieces, claimed.letter)
    return True


def releases_waiting(connection: Connection) -> dict[int, int]:
    """Return the releases that have a free batch: total recipients by release id."""
    return {row.id: row.total for row in connection.execute(_WAITING)}


@lru_cache
def _picked(order: tuple[Any, ...], *conditions: ColumnElement[bool]) -> _Taking:
    """Return the statement that takes the first free batches of a release in an order."""
    picked = (
        select(Batch.id)
        .where(Batch.release_id == bindparam("release"), *FREE, *conditions)
        .order_by(*order)
        .limit(bindparam("at_most"))
        .with_for_update(skip_locked=True)
        .cte("picked")
    )
    return (
        update(Batch)
        .where(Batch.id.in_(select(picked.c.id)))
        .values(**taken(Batch), not_before=None, dated_at=CLAIMED_DATE)
        .returning(
            *(Batch.id, Batch.epoch, Batch.kind, Batch.letter, Batch.position),
            *(Batch.lease_until, Batch.dated_at, Batch.lost_at),
        )
        .execution_options(synchronize_session=False)
    )


def _shares(fit: Sequence[int], in_hand: Mapping[int, int], at_most: int) -> Counter[int]:
    """Distribute claims over releases, each to the release with the fewest batches."""
    shares: Counter[int] = Counter()
    for _ in range(at_most if fit else 0):
        shares[min(fit, key=lambda one: in_hand.get(one, 0) + shares[one])] += 1
    return shares


def _take(
    session: Session,
    release_id: int,
    lease_seconds: int,
    statement: _Taking,
    *,
    at_most: int = 1,
    probe: bool = False,
) -> list[Claim]:
    # FOR SHARE: other claims may go on, but a stop waits, since it must see every lease.
    release = session.execute(_SENDING, {"release": release_id}).one_or_none()
    if release is None or not is_current(Numbered(release.name, release.number)):
        return []
    lease = lease_seconds * 1000
    at_most = 1 if release.rests else at_most
    frozen = int(release.frozen_at.timestamp() * 1000)
    values = {"release": release_id, "lease": lease, "at_most": at_most, "frozen": frozen}
    rows = sorted(session.execute(statement, values))
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
            members=array("q", members[row.id]),
            position=row.position,
            claimed_at=row.lease_until - lease,
            rests=release.rests,
            probe=probe,
            dated_at=row.dated_at,
            dates=dates_of_copies(session, release_id, members[row.id], frozen)
            if row.kind == "retry" or row.lost_at == row.position
            else {},
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
