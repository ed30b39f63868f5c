"""Alerts: one sentence to the operator's command for each cause, whichever sweep finds it first.

What was told is kept in rows, and for workers, of which only Redis knows, in Redis. It is kept
before the command runs: a sweep that is killed in between loses an alert, and none is told twice.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
from collections.abc import Sequence
from datetime import timedelta

from redis import RedisError
from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.fanout.answers.pauses import RELAY_ACCEPTS_NOTHING, RELAY_REFUSES
from mailer.storage.database import database_now, transaction
from mailer.storage.models import OutboxMessage, Publisher, RelayState, Release
from mailer.storage.queues import JOBS, has_worker, looks_without_worker
from mailer.storage.types import now

_TIMEOUT_SECONDS = 10
_AT_ONCE = 5
"""Releases in one look: a slow command must not keep the sweep from its other work."""
_WITHOUT_WORKER_SECONDS = 60
"""Longer than a deploy takes to start its workers."""
_OVERDUE = timedelta(hours=1)
_EVERYTHING = (RELAY_REFUSES, RELAY_ACCEPTS_NOTHING)

log = logging.getLogger(__name__)


def tell(settings: Settings, waiting: Sequence[str]) -> None:
    """Tell the alert command, if there is one, what was not told before.

    `waiting` names the queues in which something waits for a worker.
    """
    if settings.alert_command is None:
        return
    with transaction() as session:
        sentences = [*_everything_paused(session), *_releases_paused(session), *_overdue(session)]
    sentences += _without_worker(settings, waiting)
    for sentence in sentences:
        _run(settings.alert_command, sentence)


def _everything_paused(session: Session) -> list[str]:
    paused = session.execute(
        update(Release)
        .where(*_untold(), Release.paused_because.in_(_EVERYTHING))
        .values(told=True)
        .returning(Release.paused_because)
    )
    return [f"Everything that was sending is paused: {one}" for one in sorted({*paused.scalars()})]


def _releases_paused(session: Session) -> list[str]:
    untold = select(Release.id).where(*_untold()).order_by(Release.id).limit(_AT_ONCE)
    paused = session.scalars(
        update(Release)
        .where(Release.id.in_(untold.with_for_update(skip_locked=True, key_share=True)))
        .values(told=True)
        .returning(Release.id)
    ).all()
    rows = session.execute(
        select(Release.id, Publisher.slug, Release.paused_because)
        .join(Publisher, Publisher.id == Release.publisher_id)
        .where(Release.id.in_(paused))
        .order_by(Release.id)
    )
    return [f"Release {number} of {slug} is paused: {because}" for number, slug, because in rows]


def _overdue(session: Session) -> list[str]:
    """Return the sentence once, until no outbox message is overdue any more.

    A notice does not count: the pause that it is about is told by itself.
    """
    late_since = int(_OVERDUE.total_seconds() * 1000)
    message = exists().where(
        OutboxMessage.finished_at.is_(None),
        OutboxMessage.lease_until.is_(None),
        OutboxMessage.kind != "notice",
        or_(
            # What could not be tried is handed back with another wait, and no attempt is counted.
            and_(OutboxMessage.attempts == 0, OutboxMessage.created_at < now() - _OVERDUE),
            OutboxMessage.not_before < database_now() - late_since,
        ),
    )
    is_overdue = bool(session.scalar(select(message)))
    changed = session.scalar(
        update(RelayState)
        .where(RelayState.overdue_told != is_overdue)
        .values(overdue_told=is_overdue)
        .returning(RelayState.id)
    )
    if changed is None or not is_overdue:
        return []
    return ["Letters to single subscribers, such as confirmations, are overdue by an hour."]


def _without_worker(settings: Settings, waiting: Sequence[str]) -> list[str]:
    """Return a sentence for each queue in which something has waited for a minute of looks."""
    if settings.redis_url is None:
        return []
    looks = -(-_WITHOUT_WORKER_SECONDS // settings.sweep_seconds)
    sentences = []
    for queue in JOBS:
        try:
            missing = queue in waiting and not has_worker(settings.redis_url, queue)
            number = looks_without_worker(settings.redis_url, queue, missing=missing)
        except RedisError as error:
            log.warning("Whether there are workers is not known: %s.", type(error).__name__)
            break
        if number == looks:
            sentences.append(f"Something waits to be sent, but no worker serves {queue}.")
    return sentences


def _untold() -> tuple[ColumnElement[bool], ...]:
    return Release.finished_at.is_(None), Release.state == "paused", ~Release.told


def _run(command: str, sentence: str) -> None:
    """Run the command with the sentence on its standard input; a failure is only logged."""
    # The settings hold secrets, which are no business of the command.
    own = {field.alias for field in Settings.model_fields.values()}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    try:
        subprocess.run(  # noqa: S603 - the operator's own command, without a shell
            shlex.split(command),
            input=f"{sentence}\n",
            encoding="utf-8",
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("The alert command failed: %s.", _failure(error))


def _failure(error: Exception) -> str:
    """Say how a command failed, without its words: they may hold a password."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"it ended with status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took longer than {_TIMEOUT_SECONDS} seconds"
    return getattr(error, "strerror", None) or type(error).__name__
