"""Restores: an older copy of the database that was put back is recognised, and sends nothing.

Its releases are paused, and who has left since the copy was made is out again.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection, bindparam, exists, select, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers import ways_out
from mailer.domain.followers.erasure import erase_subscribers
from mailer.domain.followers.ways_out import Note
from mailer.domain.releases.lifecycle import pause
from mailer.storage import generation, witnesses
from mailer.storage.database import after_commit, identity, read_transaction, transaction
from mailer.storage.generation import Numbered
from mailer.storage.models import Release, Subscription
from mailer.storage.types import now

OLDER = (
    "An older copy of the database was put in the place of the one that sent this release, and may "
    "not know who has it already. Resume only if you are sure."
)
ELSEWHERE = (
    "This database is a copy of the one that sent this release, and nothing here remembers that "
    "one: it may not know who has it already. Resume only if you are sure."
)
RESTORED = (
    "A copy of the database was put back, which may not know who has this release already. Resume "
    "only if you are sure."
)
# A copy may have been made just before a release was finished, between two sweeps.
_LATELY = timedelta(hours=1)
_UNFINISHED = Release.finished_at.is_(None)
_IS_ELSEWHERE = _UNFINISHED & (Release.database_identity != bindparam("here"))
_FIND_ELSEWHERE = select(exists().where(_IS_ELSEWHERE))
_KEEP_HERE = update(Release).where(_IS_ELSEWHERE).values(database_identity=bindparam("here"))
_FIND_COUNTING = select(
    exists().where(_UNFINISHED) | exists().where(Release.finished_at > bindparam("lately"))
)

log = logging.getLogger(__name__)


class _Accepted(Exception):
    """Another process has accepted the database meanwhile."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the database and its witnesses say of each other."""

    found: Numbered
    witnessed: int | None
    because: str | None
    """Why nothing may be sent from this database, None if it may be trusted."""


def look(settings: Settings) -> Look:
    """Compare the database with its witnesses."""
    with read_transaction() as session:
        name = generation.read(session.connection()).name
    witnessed = witnesses.highest(settings, name)
    with read_transaction() as session:
        return _compare(session.connection(), name, witnessed)


def is_trusted(connection: Connection, settings: Settings) -> bool:
    """Tell whether anything may be sent from this database; logs why not.

    If so, its number is remembered: a claim from an older copy is refused from then on. The
    connection is in autocommit mode.
    """
    name = generation.read(connection).name
    seen = _compare(connection, name, witnesses.highest(settings, name))
    if seen.because is not None:
        log.error("%s", seen.because)
        return False
    generation.remember(seen.found)
    return True


def _compare(connection: Connection, name: str, witnessed: int | None) -> Look:
    """Compare the number, as it is after the witnesses were asked, with what they know."""
    found, because = generation.read(connection), None
    if found.name == name and witnessed is not None and witnessed > found.number:
        because = OLDER
    elif found.name == name and witnessed is None and _is_elsewhere(connection):
        because = ELSEWHERE
    return Look(found, witnessed, because)


def watch(settings: Settings) -> None:
    """Pause everything in a database that is older than its witnesses, else let them know more.

    One that may be trusted, and is in another place than before, was moved, or is a copy that knows
    as much as its original: it goes on under a name of its own.
    """
    seen = look(settings)
    if seen.because is not None:
        log.error("%s", seen.because)
        accept(settings, seen.found, seen.because)
        return
    with transaction() as session:
        _keep_here(session)
        generation.settle(session)
        told = seen.found if seen.found.here else generation.rename(session, seen.found)
        if _counts(session):
            told = generation.raise_number(session)
        if told is not None and told.number != seen.witnessed:
            after_commit(session, partial(witnesses.tell, settings, told))


def forget(settings: Settings) -> None:
    """Delete what the witnesses no longer have to keep."""
    with read_transaction() as session:
        name = generation.read(session.connection()).name
    witnesses.forget(settings, name)


def accept_present(settings: Settings) -> int:
    """Do what `accept` does to whatever database is there, since an operator says so."""
    with read_transaction() as session:
        found = generation.read(session.connection())
    return accept(settings, found, RESTORED)


def accept(settings: Settings, found: Numbered, because: str) -> int:
    """Take a restored database for the present one, everything paused, and rename it.

    Whatever runs on with the database that it is a copy of is not disturbed. Returns how many
    subscriptions were changed by repeating what was noted since.
    """
    with suppress(_Accepted), transaction() as session:
        _pause_all(session, because)
        noted = ways_out.noted_above(settings, found.name, found.number)
        changed = sum(_repeat(session, settings, one) for one in noted)
        named = generation.rename(session, found)
        if named is None:
            raise _Accepted
        after_commit(session, partial(witnesses.tell, settings, named))
        return changed
    return 0


def _repeat(session: Session, settings: Settings, noted: Note) -> bool:
    """Do once more what was done to a subscription; False if there is none of this nonce."""
    subscription = session.get(Subscription, noted.subscription_id, with_for_update=True)
    if subscription is None or (subscription.nonce or 0) != noted.nonce:
        return False
    if noted.act == "left" and subscription.ended_at is None:
        subscription.ended_at, subscription.ended_reason = now(), "unsubscribed: once more"
    elif noted.act == "returned" and _may_return(session, subscription):
        subscription.ended_at = subscription.ended_reason = None
    elif noted.act == "erased" and subscription.subscriber_id is not None:
        session.flush()
        erase_subscribers(session, settings, [subscription.subscriber_id])
        session.expire_all()
    session.flush()
    return True


def _may_return(session: Session, subscription: Subscription) -> bool:
    """Tell whether a subscription has a subscriber, who has no other one open there."""
    other = exists().where(
        Subscription.subscriber_id == subscription.subscriber_id,
        Subscription.publisher_id == subscription.publisher_id,
        Subscription.ended_at.is_(None),
    )
    return subscription.subscriber_id is not None and not session.scalar(select(other))


def _pause_all(session: Session, because: str) -> None:
    for release_id in session.scalars(select(Release.id).where(_UNFINISHED)).all():
        pause(session, release_id, because)
    _keep_here(session)
    session.execute(
        update(Release).where(_UNFINISHED, Release.state == "paused").values(paused_because=because)
    )


def _keep_here(session: Session) -> None:
    """Let releases go on in this physical database."""
    session.execute(_KEEP_HERE, {"here": identity(session.connection())})


def _is_elsewhere(connection: Connection) -> bool:
    return bool(connection.scalar(_FIND_ELSEWHERE, {"here": identity(connection)}))


def _counts(session: Session) -> bool:
    """Tell whether a release is on its way, or was within the hour: then the number is raised."""
    return bool(session.scalar(_FIND_COUNTING, {"lately": now() - _LATELY}))
