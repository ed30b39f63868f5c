"""Outcomes: a row for each recipient of a release who was not plainly accepted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.releases.lifecycle import locked
from mailer.fanout.answers.replies import Verdict
from mailer.fanout.batches import LARGEST_BATCH, Claim, add_batches, batch_size
from mailer.fanout.statements import (
    ADVANCE,
    ADVANCE_AND_WRITE_OUTCOMES,
    BELIEVE,
    MARK,
    WRITE_OUTCOMES,
    execute,
)
from mailer.mail.smtp_protocol import Reply
from mailer.storage.leases import Key
from mailer.storage.models import Outcome, ReleaseKind, Uncertain
from mailer.storage.sql import database_now, insert
from mailer.storage.types import now

ATTEMPTS_AT_MOST = 18
"""With waits that double from 5 minutes to 4 hours, the 18th answer comes after 49 hours."""
_LONGEST_WAIT_SECONDS = 4 * 3600
_DUE_AT_ONCE = 10 * LARGEST_BATCH
_REASON_LENGTH = 20
_DUE = (
    select(Outcome)
    .where(
        Outcome.release_id == bindparam("release_id"),
        Outcome.kind == "deferred",
        Outcome.batch_id.is_(None),
        Outcome.next_at <= database_now(),
    )
    .order_by(Outcome.subscription_id)
    .limit(_DUE_AT_ONCE)
    .with_for_update()
)
DOUBTED_WAIT_SECONDS = 3600
DOUBTED_AT_MOST_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one recipient."""

    subscription_id: int
    address: str
    verdict: Verdict
    counted: bool = True
    """Whether the answer counts against the recipient: one to a probe does not."""

    @property
    def is_kept(self) -> bool:
        """Whether it needs a row: who is accepted, at a retry, needs none any more."""
        return self.verdict.kind != "accepted"


@dataclass(slots=True)
class Progress:
    """How far a claimed batch has come, and what was found on the way."""

    claim: Claim
    position: int
    accepted: bool = False
    """Whether the relay has accepted a message since the last progress."""
    findings: Sequence[Finding] = ()
    hand_back: bool = False
    pause_because: str | None = None
    sender_refused: Reply | None = None
    """With `hand_back`: what the relay answered to the sender, again and again."""
    sender_taken: bool = False
    """Whether it takes the sender again, after the batches of the release have rested."""
    finished: bool = field(init=False)
    """Whether every member of the batch has been handled."""

    def __post_init__(self) -> None:
        """Compare once: it is asked for several times in each commit."""
        self.finished = self.position == len(self.claim.members)

    @property
    def ends(self) -> bool:
        """Whether the batch has no lease afterwards."""
        return self.hand_back or self.finished

    @property
    def plain(self) -> bool:
        """Whether there is nothing to write but the position."""
        return not (
            self.findings
            or self.pause_because
            or self.sender_refused is not None
            or self.sender_taken
        )


@dataclass(slots=True)
class Judged:
    """Refusals of one release that another answer has spoken for, by subscription ids."""

    believed: Sequence[int] = ()
    marked: Sequence[int] = ()


def write_progress(
    connection: Connection, progresses: Iterable[Progress], settings: Settings
) -> Mapping[Key, str]:
    """Advance the positions of all batches whose leases are ours, and write what was found out.

    Returns the state of the release by the key of each claim that is ours.
    """
    lease = settings.lease_seconds * 1000
    positions = {one.claim.key: _position(one, lease) for one in progresses}
    rows = [_row(one.claim, found) for one in progresses for found in one.findings if found.is_kept]
    values = {
        "positions": json.dumps(list(positions.values())),
        "given": json.dumps(rows),
        "retry": settings.retry_seconds * 1000,
        "longest": _LONGEST_WAIT_SECONDS * 1000,
        "hour": DOUBTED_WAIT_SECONDS * 1000,
        "day": DOUBTED_AT_MOST_SECONDS * 1000,
    }
    together = rows and connection.dialect.name == "postgresql"
    advance = {"postgresql": ADVANCE_AND_WRITE_OUTCOMES} if together else ADVANCE
    states = execute(connection, advance, values).fetchall()
    if rows and not together:
        execute(connection, WRITE_OUTCOMES, values)
    return {(batch_id, epoch): state for batch_id, epoch, state in states}


def delete_accepted(connection: Connection, progresses: Iterable[Progress]) -> None:
    """Delete the rows of recipients who were accepted at a retry."""
    accepted = [
        (one.claim.release_id, found.subscription_id)
        for one in progresses
        for found in one.findings
        if not found.is_kept
    ]
    if accepted:
        key = tuple_(Outcome.release_id, Outcome.subscription_id)
        connection.execute(delete(Outcome).where(key.in_(accepted)))


def believe(connection: Connection, release_id: int, subscription_ids: Sequence[int]) -> None:
    """Refuse recipients whose doubted refusal another answer has spoken for."""
    given = json.dumps(list(subscription_ids))
    execute(connection, BELIEVE, {"release": release_id, "given": given})


def mark(connection: Connection, release_id: int, subscription_ids: Sequence[int]) -> None:
    """Mark recipients whose next refusal is believed, and try them again after an hour."""
    given, hour = json.dumps(list(subscription_ids)), DOUBTED_WAIT_SECONDS * 1000
    execute(connection, MARK, {"release": release_id, "given": given, "hour": hour})


def close_exhausted(connection: Connection, release_id: int) -> None:
    """Give up recipients who have answered as often as anyone is asked."""
    exhausted = (
        Outcome.release_id == release_id,
        Outcome.kind == "deferred",
        Outcome.attempts >= ATTEMPTS_AT_MOST,
    )
    closed = {"next_at": None, "at": now()}
    connection.execute(
        update(Outcome)
        .where(*exhausted, Outcome.unanswered > 0)
        .values(kind="skipped", reason="unanswered", **closed)
    )
    connection.execute(
        update(Outcome).where(*exhausted).values(kind="refused", reason="expired", **closed)
    )


def note_uncertain(
    session: Session, release_id: int, dates: Mapping[int, int | None], reason: str
) -> None:
    """List recipients who may get the same message twice; each is listed once.

    `dates` has the Date of the message to each, in milliseconds, by subscription id.
    """
    if not dates:
        return
    listed = {"release_id": release_id, "reason": reason, "at": now()}
    session.execute(
        insert(session, Uncertain).on_conflict_do_nothing(),
        [listed | {"subscription_id": one, "dated_at": date} for one, date in dates.items()],
    )


def retry_due(session: Session, release_id: int, connections: int) -> None:
    """Put deferred recipients who are due into retry batches."""
    release = locked(session, release_id)
    if release.state != "sending":
        return
    due = session.scalars(_DUE, {"release_id": release_id}).all()
    for letter, together in _by_letter(due).items():
        size = batch_size(len(together), connections)
        pieces = [together[begin : begin + size] for begin in range(0, len(together), size)]
        ids = [[outcome.subscription_id for outcome in piece] for piece in pieces]
        for batch_id, piece in zip(
            add_batches(session, release_id, "retry", ids, letter), pieces, strict=True
        ):
            for outcome in piece:
                outcome.batch_id, outcome.next_at = batch_id, None


def _row(claim: Claim, finding: Finding) -> dict[str, object]:
    kind, reason = finding.verdict.kind, finding.verdict.reason
    return {
        "release_id": claim.release_id,
        "subscription_id": finding.subscription_id,
        "letter": claim.letter,
        "kind": "deferred" if kind in ("doubted", "unanswered") else kind,
        "reason": reason[:_REASON_LENGTH],
        "counted": int(finding.counted and kind in ("deferred", "unanswered")),
        "unanswered": int(kind == "unanswered"),
        "doubted": kind == "doubted",
        "retry": claim.retry,
        "batch_id": claim.batch_id,
        "epoch": claim.epoch,
    }


def _position(progress: Progress, lease: int) -> dict[str, int | None]:
    return {
        "id": progress.claim.batch_id,
        "epoch": progress.claim.epoch,
        "position": progress.position,
        "lease": None if progress.ends else lease,
    }


def _by_letter(outcomes: Iterable[Outcome]) -> Mapping[ReleaseKind, Sequence[Outcome]]:
    """Group outcomes by letter: the members of a batch all get the same one."""
    parts: defaultdict[ReleaseKind, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        parts[outcome.letter].append(outcome)
    return parts
