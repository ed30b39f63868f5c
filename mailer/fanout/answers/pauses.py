"""Pauses: when the answers to a release show that something is wrong with us or the relay."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from mailer.domain.releases.lifecycle import pause
from mailer.domain.releases.receipts import count_recipients
from mailer.errors import Killed, NotComposed
from mailer.fanout.answers import backoff
from mailer.fanout.outcomes import ATTEMPTS_AT_MOST, Progress, close_exhausted, note_uncertain
from mailer.fanout.statements import COUNT_DOUBTED, execute
from mailer.mail.addresses import domain
from mailer.storage.models import Outcome, Release, Subscriber, Subscription
from mailer.storage.sql import database_now

FEW_DOMAINS = 3
_DOUBTED = 20
_DOUBTED_OF_FEW_DOMAINS = 200
FEW = 5
"""A release with fewer recipients is not paused because of what all of them answer."""
_RESTS_OF_A_REFUSED_SENDER = 7
"""Rests of 2 to 64 seconds: two minutes, after which a permanent refusal of the sender counts."""
_RESTS_AT_MOST = 600
_LONGEST_REST_SECONDS = 300
_DOUBLINGS = 8
DOTS_UNANSWERED = (
    "The mail relay takes our messages and does not say whether it has them. Some recipients may "
    "have the message already. Find out why, then resume the release."
)
RELAY_REFUSES = (
    "The mail relay does not take our connections or our password. Mend that, then resume "
    "everything: mailer release resume --all."
)
RELAY_ACCEPTS_NOTHING = (
    "The mail relay has accepted nothing for two days. Mend that, then resume everything: mailer "
    "release resume --all."
)
_MEND = "Nobody was given up for it. Mend that, then resume the release."


def sentence_about(error: Exception) -> str:
    """Return why a release is paused of which a batch broke."""
    if isinstance(error, (NotComposed, Killed)):
        return (
            "The letter of this release could not be composed, twice: it takes too long, too much "
            "memory, or breaks what composes it. Correct the release, or resume it to try again."
        )
    return "Something broke on our side; the log of the worker says what."


def tells_more(progress: Progress) -> bool:
    """Tell whether a progress says something of its release, or of who may have it twice."""
    if progress.pause_because or progress.sender_taken or progress.sender_refused is not None:
        return True
    if progress.claim.retry:
        return bool(progress.findings)
    return any(one.verdict.kind in ("doubted", "unanswered") for one in progress.findings)


def draw_conclusions(session: Session, to_write: Collection[Progress], connections: int) -> bool:
    """Write what progresses say of their release, and who may have the message twice.

    Returns True if that may have changed the state of a release.
    """
    for progress in to_write:
        release_id = progress.claim.release_id
        unanswered: dict[int, int | None] = {
            finding.subscription_id: progress.claim.date_of(finding.subscription_id)
            for finding in progress.findings
            if finding.verdict.kind == "unanswered"
        }
        note_uncertain(session, release_id, unanswered, "unanswered")
        if progress.sender_taken:
            _note_sender_is_taken(session, release_id)
        if progress.sender_refused is not None:
            _rest(session, progress)
    refused = any(progress.sender_refused is not None for progress in to_write)
    return _pause_if_doubtful(session, to_write, connections) or refused


def _pause_if_doubtful(
    session: Session, progresses: Collection[Progress], connections: int
) -> bool:
    """Pause releases of which the answers just written show that more than recipients is wrong.

    Answers to batches that were claimed before the last resume pause nothing. Returns True if
    there was a reason.
    """
    pauses = False
    found: dict[int, set[str]] = {}
    since: dict[int, int] = {}
    for progress in progresses:
        release_id = progress.claim.release_id
        since[release_id] = max(since.get(release_id, 0), progress.claim.claimed_at)
        kinds = found.setdefault(release_id, set())
        kinds.update(finding.verdict.kind for finding in progress.findings)
        if progress.claim.retry:
            kinds.add("retry")
        if progress.pause_because is not None:
            pauses = True
            pause(session, release_id, progress.pause_because, progress.claim.claimed_at)
    for release_id, kinds in sorted(found.items()):
        because = _why_to_pause(session, release_id, kinds, connections)
        if because is not None:
            pauses = True
            pause(session, release_id, because, since[release_id])
    return pauses


def _rest(session: Session, progress: Progress) -> None:
    """Let the batches of a release rest, 2 seconds doubling to 5 minutes, or pause it.

    Many connections whose sender is refused at the same time count once.
    """
    claim, reply = progress.claim, progress.sender_refused
    if reply is None:
        return
    release = session.get_one(Release, claim.release_id, with_for_update={"key_share": True})
    if (release.not_before or 0) > claim.claimed_at:
        return
    release.rests += 1
    wait = min(2 << min(release.rests - 1, _DOUBLINGS), _LONGEST_REST_SECONDS)
    release.not_before = session.scalars(select(database_now() + wait * 1000)).one()
    at_most = _RESTS_OF_A_REFUSED_SENDER if reply.permanent else _RESTS_AT_MOST
    if release.rests >= at_most:
        pause(
            session,
            release.id,
            "The mail relay does not accept our sender, or a message of this size "
            f"({reply.status}). {_MEND}",
            claim.claimed_at,
        )


def note_failed_probe(session: Session, *, permanent: bool) -> None:
    """Note a probe that failed, and pause everything that is sending if it has lasted too long."""
    if not backoff.probe_failed(session, permanent=permanent):
        return
    because = RELAY_REFUSES if permanent else RELAY_ACCEPTS_NOTHING
    sending = select(Release.id).where(
        Release.finished_at.is_(None),
        Release.state == "sending",
    )
    for release_id in session.scalars(sending).all():
        pause(session, release_id, because)


def _note_sender_is_taken(session: Session, release_id: int) -> None:
    """Note that the relay takes the sender of a release again."""
    session.execute(
        update(Release).where(Release.id == release_id).values(rests=0, not_before=None)
    )


def _why_to_pause(
    session: Session, release_id: int, kinds: Collection[str], connections: int
) -> str | None:
    if "doubted" in kinds and (because := _too_many_doubted(session, release_id, connections)):
        return because
    if "unanswered" in kinds and (because := _dots_unanswered(session, release_id)):
        return because
    if "retry" in kinds and {"deferred", "unanswered"} & set(kinds):
        return _all_exhausted(session, release_id)
    return None


def _too_many_doubted(session: Session, release_id: int, connections: int) -> str | None:
    values = {"release": release_id}
    number, first_are_open = execute(session.connection(), COUNT_DOUBTED, values).fetchone()
    doubted = (
        Outcome.release_id == release_id,
        Outcome.doubted_at.is_not(None),
        ~Outcome.marked,
    )
    many = number >= max(_DOUBTED, connections)
    if many and number < max(_DOUBTED_OF_FEW_DOMAINS, connections):
        addresses = session.scalars(
            select(Subscriber.address)
            .join(Subscription, Subscription.subscriber_id == Subscriber.id)
            .join(Outcome, Outcome.subscription_id == Subscription.id)
            .where(*doubted)
        )
        many = len({domain(address) for address in addresses}) >= FEW_DOMAINS
    if not many and (first_are_open or number < FEW or not _is_tried_in_vain(session, release_id)):
        return None
    reason = session.scalars(
        select(Outcome.reason)
        .where(*doubted)
        .group_by(Outcome.reason)
        .order_by(func.count().desc())
        .limit(1)
    ).one()
    return (
        f"The mail relay has refused {number} recipients for good (most with {reason}), and has "
        f"accepted nobody since. {_MEND}"
    )


def _dots_unanswered(session: Session, release_id: int) -> str | None:
    """Say so once all recipients were tried, none accepted, and five or more dots not answered."""
    unanswered = (Outcome.release_id == release_id, Outcome.unanswered > 0)
    number = session.scalars(select(func.count()).where(*unanswered)).one()
    in_vain = number >= FEW and _is_tried_in_vain(session, release_id)
    return DOTS_UNANSWERED if in_vain else None


def _all_exhausted(session: Session, release_id: int) -> str | None:
    """Close recipients who were asked often enough, or say why the release pauses instead."""
    exhausted = exists().where(
        Outcome.release_id == release_id,
        Outcome.kind == "deferred",
        Outcome.attempts >= ATTEMPTS_AT_MOST,
    )
    if not session.scalar(select(exhausted)):
        return None
    receipt = count_recipients(session, release_id)
    if receipt.total >= FEW and (receipt.waiting or not receipt.accepted):
        return (
            "The mail relay has put recipients off for two days, and "
            f"{'others were not tried yet' if receipt.waiting else 'nobody was accepted'}. {_MEND}"
        )
    close_exhausted(session.connection(), release_id)
    return None


def _is_tried_in_vain(session: Session, release_id: int) -> bool:
    """Tell whether every recipient of a release was tried, and none of them accepted."""
    receipt = count_recipients(session, release_id)
    return receipt.waiting == 0 and receipt.accepted == 0
