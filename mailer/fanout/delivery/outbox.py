"""Delivery of the outbox: letters to one address each, sent as soon as a connection is free."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.restores import is_trusted
from mailer.fanout.answers import backoff
from mailer.fanout.answers.replies import ACCEPTED, UNSENDABLE, Verdict
from mailer.fanout.answers.send_rate import SendRate
from mailer.fanout.database_thread import Abandoned, DatabaseThread
from mailer.fanout.delivery.dispatcher import ConnectionPool, Run
from mailer.fanout.delivery.leases import Leases
from mailer.fanout.delivery.message import (
    Delivery,
    DeliveryContext,
    Halted,
    NotConnected,
    SenderRefused,
)
from mailer.fanout.outbox import (
    ClaimedMessage,
    claim_messages,
    finish_message,
    hand_back_message,
    messages_are_waiting,
)
from mailer.fanout.probes import something_to_probe_with
from mailer.fanout.release_letters import LetterComposer
from mailer.mail.content import PressRoom
from mailer.mail.message import Composed, UnsafeValue, message_date
from mailer.mail.smtp import Mail
from mailer.storage.models import OutboxMessage
from mailer.storage.types import now

_CONNECTIONS = 4
_ONLY_FOR_FOLLOWERS = frozenset({"following", "welcome", "manage"})
_CLOSED_SECONDS = 10
_PROBED_SECONDS = 300
_BROKEN = Verdict("deferred", "broken")

log = logging.getLogger(__name__)


async def drain_outbox(settings: Settings, shutdown: asyncio.Event) -> None:
    """Send every outbox message that is due, until none is left, or until shutdown."""
    database = DatabaseThread(shutdown)
    leases = Leases(database, OutboxMessage, settings.lease_seconds)
    send_rate = SendRate(settings, shutdown)
    context = DeliveryContext(settings, database, leases, send_rate, shutdown)
    work = OutboxWork(context, LetterComposer(settings))
    try:
        if not await database.run_statement(partial(is_trusted, settings=settings)):
            return
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(task) for task in (leases.keep(), send_rate.run())]
            await ConnectionPool(context, work, asyncio.Event()).run()
            for task in background:
                task.cancel()
    except* Abandoned:
        log.warning("The database stays away: claimed messages are left to their leases.")
    finally:
        database.close()


class OutboxWork:
    """What a process has to do for the outbox: send the messages that are due."""

    closed_seconds = float(_CLOSED_SECONDS)
    is_preparing = takes_permits = False

    def __init__(self, context: DeliveryContext, composer: LetterComposer) -> None:
        self.context = context
        self.composer = composer
        self.is_waiting = False
        self.answer_noted = 0.0

    def is_prepared(self) -> bool:
        """Nothing has to be made before messages can be claimed."""
        return False

    async def look(self) -> None:
        """Read whether a message is due."""
        self.is_waiting = await self.context.database.run_in_session(messages_are_waiting)

    async def claim(self, busy: Sequence[Run], free: int, connections: int) -> Sequence[Run]:
        """Claim messages; a few connections are enough for letters to single persons."""
        at_most = min(free, _CONNECTIONS - len(busy))
        if at_most <= 0:
            return ()
        claimed = await self._claim(partial(claim_messages, at_most=at_most))
        self.is_waiting = len(claimed) == at_most
        return claimed

    async def claim_probe(self) -> Run | None:
        """Claim the probe of the relay, if it is due, and one message to probe with."""

        def work(session: Session, lease_seconds: int) -> list[ClaimedMessage]:
            if not messages_are_waiting(session):
                return []
            alone = not something_to_probe_with(session)
            if backoff.claim_probe(session, letter=True, alone=alone) is None:
                return []
            return claim_messages(session, lease_seconds, probe=True)

        return next(iter(await self._claim(work)), None)

    async def wake_another(self) -> None:
        """Letters to single persons need no second worker."""

    async def _claim(self, work: Callable[[Session, int], list[ClaimedMessage]]) -> list[OutboxRun]:
        asked, seconds = time.monotonic(), self.context.settings.lease_seconds
        claimed = await self.context.database.run_in_session(lambda session: work(session, seconds))
        for one in claimed:
            self.context.leases.note(one, asked)
        return [OutboxRun(self, one) for one in claimed]


class OutboxRun:
    """The delivery of one claimed outbox message."""

    def __init__(self, work: OutboxWork, claimed: ClaimedMessage) -> None:
        self.claimed = claimed
        self._work = work
        self._context = work.context

    async def run(self, delivery: Delivery) -> None:
        """Send the message; raises NotConnected after it has been handed back."""
        claimed = self.claimed
        try:
            verdict = await self._verdict(delivery)
        except Halted:
            delivery.drop()
            await self._hand_back(0)
            return
        except NotConnected as failure:
            await self._hand_back(_CLOSED_SECONDS)
            if claimed.probe:
                await self._context.probe_failed(failure.reply)
            raise
        except Abandoned:
            raise
        except Exception:
            # A mistake of ours defers this message; the other messages go on.
            log.exception("Outbox message %d broke.", claimed.outbox_id)
            delivery.drop()
            verdict = _BROKEN
        if claimed.probe and verdict.kind in ("deferred", "doubted"):
            # A probe's refusal is not counted, and the next probe is another letter.
            await self._hand_back(_PROBED_SECONDS)
            await self._context.probe_failed(None)
            return
        await self._context.database.run_in_session(partial(self._finish, verdict=verdict))
        self._context.leases.end(claimed)

    def give_way(self) -> None:
        """Keep it: there is nothing but this one message."""

    async def before_envelope(self, *, connected_at: float) -> None:
        """Letters wait for no permit: they go first, and releases wait for their place."""

    async def before_content(self) -> None:
        """Raise Halted if too little of the lease is left to rely on it."""
        if not self._context.leases.is_safe(self.claimed):
            raise Halted
        self._context.send_rate.spend()

    def lost(self, *, after_dot: bool) -> None:
        """Nothing is counted over several messages."""

    async def _verdict(self, delivery: Delivery) -> Verdict:
        claimed = self.claimed
        if claimed.address is None:
            return Verdict("skipped", "gone")
        if claimed.has_left and claimed.kind in _ONLY_FOR_FOLLOWERS:
            return Verdict("skipped", "left")
        if claimed.kind == "notice" and not claimed.paused:
            return Verdict("skipped", "resumed")
        try:
            mail = Mail(self._sender(), claimed.address, self._content(claimed.address))
        except UnsafeValue:
            return UNSENDABLE
        try:
            return await delivery.hand_over(mail, self)
        except SenderRefused as refusal:
            return Verdict("deferred", refusal.reply.status)

    def _finish(self, session: Session, verdict: Verdict) -> None:
        finish_message(session, self.claimed, verdict, self._context.settings.retry_seconds)
        moment = time.monotonic()
        if verdict is ACCEPTED and (self.claimed.probe or moment - self._work.answer_noted >= 1):
            self._work.answer_noted = moment
            backoff.note_answer(session.connection())

    async def _hand_back(self, seconds: int) -> None:
        await self._context.database.run_in_session(
            partial(hand_back_message, claimed=self.claimed, seconds=seconds)
        )
        self._context.leases.end(self.claimed)

    def _sender(self) -> str:
        """Return the envelope sender: a return path of ours, if mail arrives at our domain.

        What comes back of a letter about a change of address says nothing about the subscriber.
        """
        claimed, return_paths = self.claimed, self._work.composer.return_paths
        if return_paths is None or claimed.subscription_id is None or claimed.change:
            return claimed.publisher.from_address
        return return_paths.address("bounce", claimed.subscription_id, nonce=claimed.nonce)

    def _content(self, address: str) -> bytes:
        claimed, composer = self.claimed, self._work.composer
        composed = composer.signed(self._compose(), claimed.publisher, claimed.dated_at)
        values = {
            "to": address,
            "date": message_date(claimed.dated_at),
            "message_id": claimed.message_id,
        }
        if claimed.subscription_id is not None:
            values |= self._for_subscriber(claimed.subscription_id, claimed.nonce)
        return composed.fill(values)

    def _for_subscriber(self, subscription_id: int, nonce: int | None) -> dict[str, str]:
        """Return the values by which a subscriber acts on their subscription."""
        tokens, return_paths = self._work.composer.tokens, self._work.composer.return_paths
        values = {
            "confirm_token": tokens.token("confirm", subscription_id, nonce),
            "access_token": tokens.token("access", subscription_id, nonce),
            "unsubscribe_token": tokens.token("unsubscribe", subscription_id, nonce),
            "one_click_token": tokens.token("one-click", subscription_id, nonce),
        }
        if (change := self.claimed.change) is not None:
            values["move_token"] = tokens.token("move", change.id, change.nonce)
        if return_paths is not None:
            address = return_paths.address("unsubscribe", subscription_id, nonce=nonce)
            values["unsubscribe_address"] = address
        return values

    def _compose(self) -> Composed:
        claimed, composer = self.claimed, self._work.composer
        by_kind: dict[str, Callable[[PressRoom, str], Composed]] = {
            "confirm": composer.letters.confirm,
            "welcome": composer.letters.welcome,
            "goodbye": composer.letters.goodbye,
            "manage": composer.letters.manage,
        }
        room = composer.press_room(claimed.publisher)
        if claimed.kind == "notice":
            return composer.letters.notice(room, claimed.paused, claimed.locale)
        if claimed.kind in ("move", "moved"):
            letter = composer.letters.move if claimed.kind == "move" else composer.letters.moved
            return letter(room, claimed.names, claimed.locale)
        if claimed.kind == "following":
            return composer.letters.following(
                room, claimed.confirmed_at or now(), claimed.paused_until, claimed.locale
            )
        return by_kind[claimed.kind](room, claimed.locale)
