"""Delivery of releases: freezes what is due, and sends every free batch until none is left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.restores import is_trusted
from mailer.fanout.acknowledgements import AcknowledgementWriter
from mailer.fanout.answers import backoff
from mailer.fanout.answers.send_rate import SendRate
from mailer.fanout.batches import (
    SMALL_RELEASE,
    Claim,
    claim,
    releases_waiting,
)
from mailer.fanout.database_thread import Abandoned, DatabaseThread
from mailer.fanout.delivery.batch import BatchContext, BatchRun
from mailer.fanout.delivery.dispatcher import LOOK_SECONDS, ConnectionPool, Run
from mailer.fanout.delivery.leases import Leases
from mailer.fanout.delivery.message import DeliveryContext
from mailer.fanout.freeze import freeze_next, release_is_due
from mailer.fanout.outbox import messages_are_waiting
from mailer.fanout.probes import claim_for_probe, something_to_probe_with
from mailer.fanout.recipients import RecipientLoader
from mailer.fanout.release_letters import LetterComposer
from mailer.storage.models import Batch
from mailer.storage.queues import wake

log = logging.getLogger(__name__)


async def drain(settings: Settings, shutdown: asyncio.Event) -> None:
    """Freeze releases that are due and send every free batch, until none is left.

    When `shutdown` is set, each connection finishes its message and hands its batch back. From
    an older copy of the database nothing is sent, until the sweep has accepted it.
    """
    database, freeze_database = DatabaseThread(shutdown), DatabaseThread(shutdown)
    leases = Leases(database, Batch, settings.lease_seconds)
    send_rate = SendRate(settings, shutdown)
    acknowledgements = AcknowledgementWriter(database, leases, send_rate, settings)
    recipients = RecipientLoader(database, LetterComposer(settings))
    context = DeliveryContext(settings, database, leases, send_rate, shutdown)
    work = ReleaseWork(BatchContext(context, acknowledgements, recipients), freeze_database)
    try:
        if not await database.run_statement(partial(is_trusted, settings=settings)):
            return
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(task)
                for task in (acknowledgements.run(), leases.keep(), send_rate.run())
            ]
            await ConnectionPool(context, work, work.something_ended).run()
            await work.end()
            for task in background:
                task.cancel()
    except* Abandoned:
        log.warning("The database stays away: claimed batches are left to their leases.")
    finally:
        database.close()
        freeze_database.close()


class ReleaseWork:
    """What a process has to do for releases: freeze those that are due, and send batches."""

    closed_seconds = 300.0
    takes_permits = True

    def __init__(self, context: BatchContext, freeze_database: DatabaseThread) -> None:
        self._context = context
        self._shared = context.delivery
        self._freeze_database = freeze_database
        self.something_ended = asyncio.Event()
        self._next_freeze = 0.0
        self._claimed_last = 0
        """The release of the batch that was claimed last."""
        # A job mostly comes for a new release, and freezing it takes less time than connecting.
        self._freezing: asyncio.Task[int | None] | None = self._freeze()

    @property
    def is_waiting(self) -> bool:
        """Whether a release had a free batch at the last look."""
        return bool(self._context.waiting)

    @property
    def is_preparing(self) -> bool:
        """Whether a release is being frozen."""
        return self._freezing is not None

    def is_prepared(self) -> bool:
        """Tell, once, that a release was frozen."""
        if self._freezing is None or not self._freezing.done():
            return False
        if self._freezing.result() is not None:
            self._next_freeze = 0.0
        self._freezing = None
        return True

    async def look(self) -> None:
        """Read which releases have a free batch, and whether one is due to be frozen."""
        waiting, due = await self._shared.database.run_statement(
            lambda connection: (releases_waiting(connection), release_is_due(connection))
        )
        self._context.waiting = waiting
        # A release that stays due is being frozen by another process, which may take long.
        if due and self._freezing is None and time.monotonic() >= self._next_freeze:
            self._freezing = self._freeze()

    async def claim(self, busy: Sequence[Run], free: int, connections: int) -> Sequence[Run]:
        """Claim batches; the last free connection is reserved for small releases."""
        waiting = self._context.waiting
        reserved = free == 1 < connections
        if reserved and min(waiting.values()) >= SMALL_RELEASE:
            return ()
        in_hand = Counter(run.claimed.release_id or 0 for run in busy)
        at_most = free if reserved else max(1, free - 1)
        claims = await self._claim(
            lambda session: claim(
                session,
                self._shared.settings.lease_seconds,
                in_hand,
                after=self._claimed_last,
                small=reserved,
                at_most=at_most,
                retries_first=self._shared.retries_first,
            )
        )
        if not claims:
            # No batch is free any more; the next look reads which are then.
            waiting.clear()
        else:
            self._claimed_last = claims[-1].claimed.release_id
        return claims

    async def claim_probe(self) -> Run | None:
        """Claim the probe of the relay, if it is due, and one batch to probe with."""

        def work(session: Session) -> list[Claim]:
            if not something_to_probe_with(session):
                return []
            alone = not messages_are_waiting(session)
            number = backoff.claim_probe(session, letter=False, alone=alone)
            if number is None:
                return []
            turn = number if alone else number // 2
            return claim_for_probe(session, self._shared.settings.lease_seconds, turn)

        return next(iter(await self._claim(work)), None)

    async def wake_another(self) -> None:
        """Wake another worker, since more is waiting than this one has connections for."""
        await asyncio.to_thread(wake, self._shared.settings.redis_url, "releases")

    async def end(self) -> None:
        """Wait for the freeze that was begun."""
        if self._freezing is not None:
            await self._freezing

    async def _claim(self, work: Callable[[Session], list[Claim]]) -> list[BatchRun]:
        """Claim batches and keep their leases alive until they are finished or handed back."""
        if self._shared.shutdown.is_set():
            return []
        asked = time.monotonic()
        claims = await self._shared.database.run_in_session(work)
        for one in claims:
            self._shared.leases.note(one, asked)
        return [BatchRun(self._context, one) for one in claims]

    def _freeze(self) -> asyncio.Task[int | None]:
        """Freeze a release that is due, while others are being sent."""
        self._next_freeze = time.monotonic() + LOOK_SECONDS
        connections = self._shared.settings.connections
        task = asyncio.create_task(
            self._freeze_database.run_in_session(partial(freeze_next, connections=connections))
        )
        task.add_done_callback(lambda _: self.something_ended.set())
        return task
