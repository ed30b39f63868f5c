"""Outcomes: a row for each recipient of a release who was not plainly accepted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from mailer.domain.releases.lifecycle import locked, pause
from mailer.fanout.batches import LARGEST_BATCH, Claim, add_batches
from mailer.fanout.replies import Verdict
from mailer.storage.database import database_now, insert
from mailer.storage.models import (
    Outcome,
    Release,
    ReleaseKind,
    Subscriber,
    Subscription,
    Uncertain,
)
from mailer.storage.types import now

DEFERRED_AT_MOST = timedelta(hours=48)
_LONGEST_WAIT_SECONDS = 4 * 3600


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one recipient."""

    subscription_id: int
    address: str
    verdict: Verdict


@dataclass(slots=True)
class Progress:
    """How far a claimed batch has come, and what was found on the way."""

    claim: Claim
    position: int
    accepted: bool = False
    """Whether a message was accepted since the last progress; it gets no row."""
    findings: Sequence[Finding] = ()
    uncertain: Sequence[int] = ()
    """Subscriptions whose final dot was not answered: they may get the message twice."""
    hand_back: bool = False
    rest_seconds: int = 0
    """With `hand_back`: how long the batch may not be claimed."""
    pause_because: str | None = None
    refusals_to_undo: list[int] = field(default_factory=list)
    """With `pause_because`: subscriptions that were refused only because of our mistake."""

    @property
    def finished(self) -> bool:
        """Whether every member of the batch has been handled."""
        return self.position == len(self.claim.members)

    @property
    def ends(self) -> bool:
        """Whether the batch has no lease afterwards."""
        return self.hand_back or self.finished

    @property
    def plain(self) -> bool:
        """Whether there is nothing to write but the position."""
        return not (self.findings or self.uncertain or self.pause_because)


def write_progress(session: Session, progress: Progress, retry_seconds: int) -> None:
    """Write what a progress says of single recipients, and pause the release if it says so."""
    claim = progress.claim
    write_findings(session, claim, progress.findings, retry_seconds)
    note_uncertain(session, claim.release_id, progress.uncertain, "unanswered")
    if progress.pause_because is not None:
        pause(session, claim.release_id, progress.pause_because, claim.claimed_at)
    undo_refusals(session, claim.release_id, _refusals_to_undo(session, progress))


def write_findings(
    session: Session, claim: Claim, findings: Iterable[Finding], retry_seconds: int
) -> None:
    """Insert, update or delete the outcome rows of the recipients that were handled."""
    for finding in findings:
        key = (claim.release_id, finding.subscription_id)
        if finding.verdict.kind == "accepted":
            _delete(session, key)
            continue
        outcome = session.get(Outcome, key)
        if outcome is None:
            outcome = Outcome(
                release_id=key[0], subscription_id=key[1], letter=claim.letter, attempts=0
            )
            session.add(outcome)
        _describe(outcome, finding.verdict, retry_seconds)
        session.flush()
        if finding.verdict.suppresses:
            _suppress(session, key)


def note_uncertain(
    session: Session, release_id: int, subscription_ids: Sequence[int], reason: str
) -> None:
    """List recipients who may get the same message twice; each is listed once."""
    if not subscription_ids:
        return
    session.execute(
        insert(session, Uncertain).on_conflict_do_nothing(),
        [
            {"release_id": release_id, "subscription_id": one, "reason": reason, "at": now()}
            for one in subscription_ids
        ],
    )


def undo_refusals(session: Session, release_id: int, subscription_ids: Sequence[int]) -> None:
    """Defer recipients who were refused by our mistake, due at once, and lift their suppression."""
    if not subscription_ids:
        return
    session.execute(
        update(Outcome)
        .where(
            Outcome.release_id == release_id,
            Outcome.subscription_id.in_(subscription_ids),
            Outcome.kind == "refused",
        )
        .values(
            kind="deferred",
            next_at=database_now(),
            first_deferred_at=None,
            at=now(),
            batch_id=None,
        )
    )
    people = select(Subscription.subscriber_id).where(Subscription.id.in_(subscription_ids))
    session.execute(
        update(Subscriber)
        .where(Subscriber.suppressed_by == release_id, Subscriber.id.in_(people))
        .values(suppressed_at=None, suppressed_by=None)
        .execution_options(synchronize_session=False)
    )


def expire(session: Session) -> None:
    """Refuse recipients whose first deferral is 48 hours old."""
    session.execute(
        update(Outcome)
        .where(
            Outcome.kind == "deferred",
            Outcome.batch_id.is_(None),
            Outcome.first_deferred_at < now() - DEFERRED_AT_MOST,
        )
        .values(kind="refused", reason="expired", next_at=None, at=now())
    )


def retry_due(session: Session, release_id: int) -> int:
    """Put deferred recipients who are due into retry batches; returns how many."""
    release = locked(session, release_id)
    if release.state != "sending":
        return 0
    due = session.scalars(
        select(Outcome)
        .where(
            Outcome.release_id == release_id,
            Outcome.kind == "deferred",
            Outcome.batch_id.is_(None),
            Outcome.next_at <= database_now(),
        )
        .order_by(Outcome.subscription_id)
        .limit(LARGEST_BATCH)
        .with_for_update()
    ).all()
    for letter, together in _by_letter(due).items():
        piece = [outcome.subscription_id for outcome in together]
        [batch_id] = add_batches(session, release_id, "retry", [piece], letter)
        for outcome in together:
            outcome.batch_id, outcome.next_at = batch_id, None
    return len(due)


def _refusals_to_undo(session: Session, progress: Progress) -> list[int]:
    """Return whose refusals to undo.

    Those of the streak that paused the release, and later ones sent before other connections saw
    the pause.
    """
    refused = [
        finding.subscription_id
        for finding in progress.findings
        if finding.verdict.kind == "refused"
    ]
    if not refused:
        return progress.refusals_to_undo
    state = session.scalar(select(Release.state).where(Release.id == progress.claim.release_id))
    return [*progress.refusals_to_undo, *(refused if state == "paused" else ())]


def _by_letter(outcomes: Iterable[Outcome]) -> Mapping[ReleaseKind, Sequence[Outcome]]:
    """Group outcomes by letter: the members of a batch all get the same one."""
    parts: defaultdict[ReleaseKind, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        parts[outcome.letter].append(outcome)
    return parts


def _describe(outcome: Outcome, verdict: Verdict, retry_seconds: int) -> None:
    if outcome.kind == verdict.kind == "deferred" and outcome.next_at is not None:
        return  # the same transaction once more, because the answer to its COMMIT was lost
    outcome.kind = verdict.kind
    outcome.reason = verdict.reason[:20]
    outcome.at = now()
    outcome.batch_id = None
    outcome.next_at = None
    if verdict.kind == "deferred":
        outcome.attempts += 1
        outcome.first_deferred_at = outcome.first_deferred_at or outcome.at
        wait = min(retry_seconds * 2 ** (outcome.attempts - 1), _LONGEST_WAIT_SECONDS)
        outcome.next_at = database_now() + wait * 1000


def _delete(session: Session, key: tuple[int, int]) -> None:
    session.execute(
        delete(Outcome).where(Outcome.release_id == key[0], Outcome.subscription_id == key[1])
    )


def _suppress(session: Session, key: tuple[int, int]) -> None:
    person = select(Subscription.subscriber_id).where(Subscription.id == key[1]).scalar_subquery()
    session.execute(
        update(Subscriber)
        .where(Subscriber.id == person, Subscriber.suppressed_at.is_(None))
        .values(suppressed_at=now(), suppressed_by=key[0])
        .execution_options(synchronize_session=False)
    )
