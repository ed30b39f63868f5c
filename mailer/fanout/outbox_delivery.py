"""The outbox on its way: letters to one person each, on connections of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.fanout.chores import beside
from mailer.fanout.database_thread import Abandoned, Ledger
from mailer.fanout.release_letters import Compositor
from mailer.fanout.replies import Verdict, judge, judge_refusal
from mailer.fanout.send_rate import Pace
from mailer.mail import letters
from mailer.mail.message import Composed, UnsafeValue, message_date
from mailer.mail.smtp import Mail, SmtpConnection
from mailer.mail.smtp_protocol import Rejected, Unanswered
from mailer.storage.database import database_now
from mailer.storage.models import OutboxLetter, Publisher, Subscriber, Subscription
from mailer.storage.types import now

_CONNECTIONS = 4
_TRIED_AT_MOST = timedelta(hours=48)
_LONGEST_WAIT_SECONDS = 3600
_SYSTEM_WAIT_SECONDS = 10
_WAITS = ("deferred", "back", "pause")
_UNREACHED = Verdict("back", "4.4.1")
_LOST = Verdict("deferred", "4.4.2")
_BROKEN = Verdict("deferred", "broken")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Errand:
    """One claimed letter, and everything needed to write it."""

    letter_id: int
    epoch: int
    kind: str
    message_id: str
    created_at: datetime
    attempts: int
    subscription_id: int
    address: str | None
    locale: str
    publisher: Publisher


async def drain_outbox(settings: Settings, leaving: asyncio.Event) -> None:
    """Send every letter that is due, until none is left or it is time to leave."""
    ledger = Ledger(leaving)
    office = _Office(settings, ledger, Compositor(settings), Pace(settings), leaving)
    try:
        async with beside(office.pace.run()), asyncio.TaskGroup() as group:
            for _ in range(min(_CONNECTIONS, settings.connections)):
                group.create_task(_Messenger(office).work())
    except* Abandoned:
        log.warning("The database stays away: what is in hand is left to its leases.")
    finally:
        ledger.close()


def letters_are_waiting(session: Session) -> bool:
    """Tell whether a letter is due that nobody has in hand."""
    return session.scalar(_due().limit(1)) is not None


def claim_letter(session: Session, lease_seconds: int) -> Errand | None:
    """Take the oldest letter that is due; its lease is fenced by an epoch, as a batch's is."""
    candidate = (
        _due()
        .order_by(OutboxLetter.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    letter = session.scalar(
        update(OutboxLetter)
        .where(OutboxLetter.id == candidate)
        .values(epoch=OutboxLetter.epoch + 1, lease_until=database_now() + lease_seconds * 1000)
        .returning(OutboxLetter)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if letter is None:
        return None
    subscription = session.get_one(Subscription, letter.subscription_id)
    person = subscription.subscriber_id and session.get(Subscriber, subscription.subscriber_id)
    return Errand(
        letter_id=letter.id,
        epoch=letter.epoch,
        kind=letter.kind,
        message_id=letter.message_id,
        created_at=letter.created_at,
        attempts=letter.attempts,
        subscription_id=subscription.id,
        address=person.address if person else None,
        locale=subscription.locale,
        publisher=session.get_one(Publisher, subscription.publisher_id),
    )


def finish_letter(session: Session, errand: Errand, verdict: Verdict, retry_seconds: int) -> None:
    """Write down what became of a letter, if it is still ours."""
    values: dict[str, object] = {"lease_until": None, "attempts": errand.attempts + 1}
    if verdict.kind in _WAITS and now() - errand.created_at < _TRIED_AT_MOST:
        wait = _SYSTEM_WAIT_SECONDS
        if verdict.kind == "deferred":
            wait = min(retry_seconds * 2**errand.attempts, _LONGEST_WAIT_SECONDS)
        values["not_before"] = database_now() + wait * 1000
    else:
        values["finished_at"] = now()
        values["outcome"] = f"{verdict.kind} {verdict.reason}".strip()[:40]
    session.execute(
        update(OutboxLetter)
        .where(OutboxLetter.id == errand.letter_id, OutboxLetter.epoch == errand.epoch)
        .values(values)
    )


def free_lost_letters(session: Session) -> None:
    """Let letters be claimed again whose sender gave no sign of life."""
    session.execute(
        update(OutboxLetter)
        .where(OutboxLetter.finished_at.is_(None), OutboxLetter.lease_until < database_now())
        .values(epoch=OutboxLetter.epoch + 1, lease_until=None)
    )


@dataclass(frozen=True, slots=True)
class _Office:
    """What all messengers of one process share."""

    settings: Settings
    ledger: Ledger
    compositor: Compositor
    pace: Pace
    leaving: asyncio.Event


class _Messenger:
    """Carries letters over one connection; the next is claimed when the last is written down."""

    def __init__(self, office: _Office) -> None:
        self._office = office
        self._connection: SmtpConnection | None = None

    async def work(self) -> None:
        """Send letters until none is due."""
        settings, ledger = self._office.settings, self._office.ledger
        lease, retry = settings.lease_seconds, settings.retry_seconds
        while not self._office.leaving.is_set():
            errand = await ledger.transact(lambda session: claim_letter(session, lease))
            if errand is None:
                break
            verdict = await self._try(errand, lease / 2)
            if verdict.kind in _WAITS:
                self._drop()
            await ledger.transact(_finishing(errand, verdict, retry))
        if self._connection is not None:
            await self._connection.quit()

    async def _try(self, errand: Errand, seconds: float) -> Verdict:
        """Deliver within a part of the lease, since nobody renews it while a relay is silent."""
        try:
            return await asyncio.wait_for(self._deliver(errand), seconds)
        except TimeoutError:
            return _LOST
        except Exception:
            # A mistake of ours. The other letters must not wait for somebody to mend it.
            log.exception("Letter %d broke.", errand.letter_id)
            return _BROKEN

    async def _deliver(self, errand: Errand) -> Verdict:
        if errand.address is None:
            return Verdict("skipped", "gone")
        try:
            message = self._message(errand, errand.address)
        except UnsafeValue:
            return Verdict("refused", "unsendable")
        try:
            mail = Mail(self._sender(errand), errand.address, message)
            connection = await self._open()
            await connection.envelope(mail)
            # It does not wait for a permit: the releases make room for it.
            self._office.pace.spend()
            return judge("dot", await connection.content(mail))
        except Rejected as refusal:
            return judge_refusal(refusal)
        except Unanswered as loss:
            return _LOST if loss.stage == "dot" else _UNREACHED

    async def _open(self) -> SmtpConnection:
        if self._connection is None:
            self._connection = await SmtpConnection.open(
                self._office.settings.relay, longest_wait=self._office.settings.smtp_timeout_seconds
            )
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def _sender(self, errand: Errand) -> str:
        """Return where the letter is sent back to: to our own domain, if mail arrives there."""
        mailboxes = self._office.compositor.mailboxes
        if mailboxes is None:
            return errand.publisher.from_address
        return mailboxes.address("bounce", errand.subscription_id)

    def _message(self, errand: Errand, address: str) -> bytes:
        links, mailboxes = self._office.compositor.links, self._office.compositor.mailboxes
        composed = self._office.compositor.signed(
            self._compose(errand), errand.publisher, errand.created_at
        )
        values = {
            "to": address,
            "date": message_date(errand.created_at),
            "message_id": errand.message_id,
            "confirm_token": links.token("confirm", errand.subscription_id),
            "access_token": links.token("access", errand.subscription_id),
            "unsubscribe_token": links.token("unsubscribe", errand.subscription_id),
            "one_click_token": links.token("one-click", errand.subscription_id),
        }
        if mailboxes is not None:
            leaving = mailboxes.address("unsubscribe", errand.subscription_id)
            values["unsubscribe_mailbox"] = leaving
        return composed.fill(values)

    def _compose(self, errand: Errand) -> Composed:
        compositor = self._office.compositor
        by_kind: dict[str, Callable[[letters.PressRoom, str], Composed]] = {
            "confirm": compositor.letters.confirm,
            "welcome": compositor.letters.welcome,
            "goodbye": compositor.letters.goodbye,
            "manage": compositor.letters.manage,
        }
        return by_kind[errand.kind](compositor.press_room(errand.publisher), errand.locale)


def _finishing(errand: Errand, verdict: Verdict, retry_seconds: int) -> Callable[[Session], None]:
    return lambda session: finish_letter(session, errand, verdict, retry_seconds)


def _due() -> Select[int]:
    return select(OutboxLetter.id).where(
        OutboxLetter.finished_at.is_(None),
        OutboxLetter.lease_until.is_(None),
        or_(OutboxLetter.not_before.is_(None), OutboxLetter.not_before <= database_now()),
    )
