"""Alerts: one sentence to the operator's command for each cause, whichever sweep finds it first.

A cause is marked as told before the command runs: a sweep that is killed in between loses an
alert, and none is told twice.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta

from redis import RedisError
from sqlalchemy import and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.fanout.answers.pauses import RELAY_ACCEPTS_NOTHING, RELAY_REFUSES
from mailer.storage.database import transaction
from mailer.storage.models import Alert, OutboxMessage, Publisher, Release
from mailer.storage.queues import has_worker
from mailer.storage.sql import database_now, insert
from mailer.storage.types import now

_TIMEOUT_SECONDS = 10
_AT_ONCE = 5
"""Sentences in one look: a slow command must not keep the sweep from its other work."""
_MINUTE = 60_000
_OVERDUE = timedelta(hours=1)
_EVERYTHING = (RELAY_REFUSES, RELAY_ACCEPTS_NOTHING)

log = logging.getLogger(__name__)


def tell(settings: Settings, waiting: Sequence[str]) -> None:
    """Tell the alert command, if there is one, what was not told before.

    `waiting` names the queues in which something waits for a worker.
    """
    if settings.alert_command is None:
        return
    without_worker = _without_worker(settings, waiting)
    with transaction() as session:
        at_once = {**_paused(session), **_overdue(session)}
        sentences = _untold(session, at_once, without_worker)
    for sentence in sentences:
        _run(settings.alert_command, sentence)


def _untold(
    session: Session, at_once: Mapping[str, str], after_a_minute: Mapping[str, str]
) -> Sequence[str]:
    """Mark causes that last as told, and return the sentences of those that were not before."""
    moment = session.scalars(select(database_now())).one()
    causes = {**at_once, **after_a_minute}
    if causes:
        due = [
            {"cause": cause, "due": moment + (_MINUTE if cause in after_a_minute else 0)}
            for cause in causes
        ]
        session.execute(insert(session, Alert).on_conflict_do_nothing(), due)
    # Another sweep may just have found a cause that this one has not: a minute tells.
    ended = Alert.cause.not_in(causes), Alert.due < moment - _MINUTE
    session.execute(delete(Alert).where(*ended))
    untold = (Alert.cause.in_(causes), Alert.due <= moment, ~Alert.told)
    found = session.scalars(select(Alert.cause).where(*untold).order_by(Alert.due, Alert.cause))
    sentences = list(dict.fromkeys(causes[cause] for cause in found))[:_AT_ONCE]
    telling = [cause for cause, sentence in causes.items() if sentence in sentences]
    told = update(Alert).where(Alert.cause.in_(telling), ~Alert.told).values(told=True)
    now_told = session.scalars(told.returning(Alert.cause)).all()
    return sorted({causes[cause] for cause in now_told})


def _paused(session: Session) -> dict[str, str]:
    """Return a sentence for each paused release, the same for all that one cause has paused."""
    rows = session.execute(
        select(Release.id, Publisher.slug, Release.paused_because, Release.resumed_at)
        .join(Publisher, Publisher.id == Release.publisher_id)
        .where(Release.finished_at.is_(None), Release.state == "paused")
    )
    sentences = {}
    for release_id, slug, because, resumed_at in rows:
        one = f"Release {release_id} of {slug}"
        what = "Everything that was sending" if because in _EVERYTHING else one
        cause = f"release {release_id} paused, resumed before at {resumed_at}"
        sentences[cause] = f"{what} is paused: {because}"
    return sentences


def _overdue(session: Session) -> dict[str, str]:
    """Return a sentence while an outbox message is an hour late.

    A notice does not count: the pause that it is about is told by itself.
    """
    late_since = database_now() - int(_OVERDUE.total_seconds() * 1000)
    message = exists().where(
        OutboxMessage.finished_at.is_(None),
        OutboxMessage.lease_until.is_(None),
        OutboxMessage.kind != "notice",
        or_(
            # What could not be tried is handed back with another wait, and no attempt is counted.
            and_(OutboxMessage.attempts == 0, OutboxMessage.created_at < now() - _OVERDUE),
            OutboxMessage.not_before < late_since,
        ),
    )
    if not session.scalar(select(message)):
        return {}
    sentence = "Letters to single subscribers, such as confirmations, are overdue by an hour."
    return {"outbox overdue": sentence}


def _without_worker(settings: Settings, waiting: Sequence[str]) -> dict[str, str]:
    """Return a sentence for each queue in which something waits, and which no worker serves."""
    if settings.redis_url is None:
        return {}
    try:
        return {
            f"no worker for {queue}": f"Something waits to be sent, but no worker serves {queue}."
            for queue in waiting
            if not has_worker(settings.redis_url, queue)
        }
    except RedisError as error:
        log.warning("Whether there are workers is not known: %s.", type(error).__name__)
        return {}


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
