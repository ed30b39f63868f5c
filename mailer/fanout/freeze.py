"""Freezing: who gets a release is settled once, when its sending starts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from sqlalchemy import Connection, and_, bindparam, exists, or_, select
from sqlalchemy.orm import Session, aliased

from mailer.domain.clock import now
from mailer.domain.releases import settle
from mailer.fanout.audiences import audience
from mailer.fanout.batches import LARGEST_BATCH, SMALL_RELEASE, add_batches
from mailer.storage.database import database_moment, identity
from mailer.storage.models import Letter, Release

_BATCHES_AN_INSERT = 64
_MOST_BATCHES_A_CONNECTION = 4
_MANY_BATCHES = 128

_BEFORE = aliased(Release)
_WAITED = and_(Release.state.in_(("scheduled", "held")), Release.starts_at <= database_moment())
_DUE = (
    select(Release)
    .where(
        Release.finished_at.is_(None),
        Release.frozen_at.is_(None),
        Release.kept_in == bindparam("here"),
        or_(Release.state == "sending", _WAITED),
        # The account of the version before must be closed: its audience is told apart by it.
        or_(
            Release.replaces_id.is_(None),
            exists().where(_BEFORE.id == Release.replaces_id, _BEFORE.finished_at.is_not(None)),
        ),
    )
    .order_by(Release.starts_at)
    .limit(1)
)
# Asked many times a second, so nothing is read that nobody looks at.
_IS_DUE = _DUE.with_only_columns(Release.id)


def freeze_next(session: Session, connections: int) -> int | None:
    """Write the audience of one due release into batches; returns its id, or None.

    All or nothing: a crash rolls everything back, and the release is frozen again.
    """
    next_one = _DUE.with_for_update(skip_locked=True)
    release = session.scalar(next_one, {"here": identity(session.connection())})
    if release is None:
        return None
    release.total = sum(
        _write_batches(session, release.id, letter, ids, connections)
        for letter, ids in audience(session, release).items()
    )
    release.state = "sending"
    release.frozen_at = now()
    session.flush()
    settle(session, release.id)
    return release.id


def release_is_due(connection: Connection) -> bool:
    """Tell whether the time of a release has come that nobody has frozen yet."""
    return connection.execute(_IS_DUE, {"here": identity(connection)}).first() is not None


def batch_size(total: int, connections: int) -> int:
    """Choose a size by which even a small list keeps every connection busy to the end.

    The last connection carries no large release. Four batches for each of the others let more
    workers take part; where that makes many, two are enough, for each costs a transaction.
    """
    used = connections if total < SMALL_RELEASE else max(1, connections - 1)
    batches = max(2 * used, min(_MOST_BATCHES_A_CONNECTION * used, _MANY_BATCHES))
    return max(1, min(LARGEST_BATCH, -(-total // batches)))


def _write_batches(
    session: Session, release_id: int, letter: Letter, audience: Iterable[int], connections: int
) -> int:
    """Read an audience as a stream, write it as batches, and return how many they are."""
    ids = iter(audience)
    # Beyond this number every batch is of the largest size, and nothing more is to be known.
    first = array("q", islice(ids, _MOST_BATCHES_A_CONNECTION * connections * LARGEST_BATCH))
    pieces = _pieces(chain(first, ids), batch_size(len(first), connections))
    total = 0
    while block := list(islice(pieces, _BATCHES_AN_INSERT)):
        add_batches(session, release_id, "first", block, letter)
        total += sum(map(len, block))
    return total


def _pieces(ids: Iterator[int], size: int) -> Iterator[Sequence[int]]:
    while piece := array("q", islice(ids, size)):
        yield piece
