"""Delivery of the outbox: letters to one subscriber each, over connections of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.fanout.database_thread import Abandoned, DatabaseThread
from mailer.fanout.release_letters import LetterComposer
from mailer.fanout.replies import CONNECTION_LOST, NO_CONNECTION, Verdict, classify
from mailer.fanout.send_rate import SendRate
from mailer.mail.content import PressRoom
from mailer.mail.message import Composed, UnsafeValue, message_date
from mailer.mail.smtp import Mail, SmtpConnection
from mailer.mail.smtp_protocol import Rejected, Unanswered
from mailer.storage.database import database_now
from mailer.storage.models import OutboxMessage, Publisher, Subscriber, Subscription
from mailer.storage.types import now

_CONNECTIONS = 4
_TRIED_AT_MOST = timedelta(hours=48)
_LONGEST_WAIT_SECONDS = 3600
_SYSTEM_WAIT_SECONDS = 10
_WAITS = ("deferred", "give_back", "pause")
_BROKEN = Verdict("deferred", "broken")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """One claimed outbox message, and everything needed to compose and send it."""

    outbox_id: int
    epoch: int
    kind: str
    message_id: str
    created_at: datetime
    attempts: int
    subscription_id: int
    address: str | None
    locale: str
    publisher: Publisher


async def drain_outbox(settings: Settings, shutdown: asyncio.Event) -> None:
    """Send every outbox message that is due, until none is left, or until shutdown."""
    database = DatabaseThread(shutdown)
    send_rate = SendRate(settings)
    context = OutboxContext(settings, database, LetterComposer(settings), send_rate, shutdown)
    try:
        async with asyncio.TaskGroup() as group:
            heartbeats = group.create_task(send_rate.run())
            async with asyncio.TaskGroup() as connections:
                for _ in range(min(_CONNECTIONS, settings.connections)):
                    connections.create_task(OutboxDelivery(context).run())
            heartbeats.cancel()
    except* Abandoned:
        log.warning("The database stays away: claimed messages are left to their leases.")
    finally:
        database.close()


def messages_are_waiting(session: Session) -> bool:
    """Tell whether an outbox message is due and not leased."""
    return session.scalar(_due().limit(1)) is not None


def claim_message(session: Session, lease_seconds: int) -> ClaimedMessage | None:
    """Claim the oldest message that is due; its lease is fenced by an epoch, as a batch's is."""
    candidate = (
        _due()
        .order_by(OutboxMessage.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    letter = session.scalar(
        update(OutboxMessage)
        .where(OutboxMessage.id == candidate)
        .values(epoch=OutboxMessage.epoch + 1, lease_until=database_now() + lease_seconds * 1000)
        .returning(OutboxMessage)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if letter is None:
        return None
    subscription = session.get_one(Subscription, letter.subscription_id)
    person = subscription.subscriber_id and session.get(Subscriber, subscription.subscriber_id)
    return ClaimedMessage(
        outbox_id=letter.id,
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


def finish_message(
    session: Session, claimed: ClaimedMessage, verdict: Verdict, retry_seconds: int
) -> None:
    """Record what became of a message, if its lease is still ours."""
    values: dict[str, object] = {"lease_until": None, "attempts": claimed.attempts + 1}
    if verdict.kind in _WAITS and now() - claimed.created_at < _TRIED_AT_MOST:
        wait = _SYSTEM_WAIT_SECONDS
        if verdict.kind == "deferred":
            wait = min(retry_seconds * 2**claimed.attempts, _LONGEST_WAIT_SECONDS)
        values["not_before"] = database_now() + wait * 1000
    else:
        values["finished_at"] = now()
        values["outcome"] = f"{verdict.kind} {verdict.reason}".strip()[:40]
    session.execute(
        update(OutboxMessage)
        .where(OutboxMessage.id == claimed.outbox_id, OutboxMessage.epoch == claimed.epoch)
        .values(values)
    )


def free_lost_messages(session: Session) -> None:
    """Free messages whose lease has run out, so that they are claimed again."""
    session.execute(
        update(OutboxMessage)
        .where(OutboxMessage.finished_at.is_(None), OutboxMessage.lease_until < database_now())
        .values(epoch=OutboxMessage.epoch + 1, lease_until=None)
    )


@dataclass(frozen=True, slots=True)
class OutboxContext:
    """What all connections of one process share."""

    settings: Settings
    database: DatabaseThread
    composer: LetterComposer
    send_rate: SendRate
    shutdown: asyncio.Event


class OutboxDelivery:
    """Sends outbox messages over one connection; each is recorded before the next is claimed."""

    def __init__(self, context: OutboxContext) -> None:
        self._context = context
        self._connection: SmtpConnection | None = None

    async def run(self) -> None:
        """Send messages until none is due."""
        settings, database = self._context.settings, self._context.database
        lease, retry = settings.lease_seconds, settings.retry_seconds
        while not self._context.shutdown.is_set():
            claimed = await database.run_in_session(lambda session: claim_message(session, lease))
            if claimed is None:
                break
            verdict = await self._try(claimed, lease / 2)
            if verdict.kind in _WAITS:
                self._drop()
            await database.run_in_session(
                partial(finish_message, claimed=claimed, verdict=verdict, retry_seconds=retry)
            )
        if self._connection is not None:
            await self._connection.quit()

    async def _try(self, claimed: ClaimedMessage, seconds: float) -> Verdict:
        """Deliver within half of the lease, which is not renewed while a relay is silent."""
        try:
            return await asyncio.wait_for(self._deliver(claimed), seconds)
        except TimeoutError:
            return CONNECTION_LOST
        except Exception:
            # A mistake of ours defers this message; the other messages go on.
            log.exception("Outbox message %d broke.", claimed.outbox_id)
            return _BROKEN

    async def _deliver(self, claimed: ClaimedMessage) -> Verdict:
        if claimed.address is None:
            return Verdict("skipped", "gone")
        try:
            content = self._content(claimed, claimed.address)
        except UnsafeValue:
            return Verdict("refused", "unsendable")
        try:
            mail = Mail(self._sender(claimed), claimed.address, content)
            connection = await self._open()
            await connection.envelope(mail)
            # Without a permit: letters go first, and releases wait for the place that they take.
            self._context.send_rate.spend()
            return classify("dot", await connection.content(mail))
        except Rejected as refusal:
            return classify(refusal.stage, refusal.reply)
        except Unanswered as loss:
            return CONNECTION_LOST if loss.stage == "dot" else NO_CONNECTION

    async def _open(self) -> SmtpConnection:
        if self._connection is None:
            settings = self._context.settings
            self._connection = await SmtpConnection.open(
                settings.relay, longest_wait=settings.smtp_timeout_seconds
            )
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def _sender(self, claimed: ClaimedMessage) -> str:
        """Return the envelope sender: a return path of ours, if mail arrives at our domain."""
        return_paths = self._context.composer.return_paths
        if return_paths is None:
            return claimed.publisher.from_address
        return return_paths.address("bounce", claimed.subscription_id)

    def _content(self, claimed: ClaimedMessage, address: str) -> bytes:
        tokens, return_paths = self._context.composer.tokens, self._context.composer.return_paths
        composed = self._context.composer.signed(
            self._compose(claimed), claimed.publisher, claimed.created_at
        )
        values = {
            "to": address,
            "date": message_date(claimed.created_at),
            "message_id": claimed.message_id,
            "confirm_token": tokens.token("confirm", claimed.subscription_id),
            "access_token": tokens.token("access", claimed.subscription_id),
            "unsubscribe_token": tokens.token("unsubscribe", claimed.subscription_id),
            "one_click_token": tokens.token("one-click", claimed.subscription_id),
        }
        if return_paths is not None:
            unsubscribe = return_paths.address("unsubscribe", claimed.subscription_id)
            values["unsubscribe_address"] = unsubscribe
        return composed.fill(values)

    def _compose(self, claimed: ClaimedMessage) -> Composed:
        composer = self._context.composer
        by_kind: dict[str, Callable[[PressRoom, str], Composed]] = {
            "confirm": composer.letters.confirm,
            "welcome": composer.letters.welcome,
            "goodbye": composer.letters.goodbye,
            "manage": composer.letters.manage,
        }
        return by_kind[claimed.kind](composer.press_room(claimed.publisher), claimed.locale)


def _due() -> Select[int]:
    return select(OutboxMessage.id).where(
        OutboxMessage.finished_at.is_(None),
        OutboxMessage.lease_until.is_(None),
        or_(OutboxMessage.not_before.is_(None), OutboxMessage.not_before <= database_now()),
    )
