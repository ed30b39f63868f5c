"""A press room whose releases are sent in this process, step by step or by a drain."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import select, update

from mailer.fanout.batches import Claim, claim
from mailer.fanout.delivery.release import drain
from mailer.fanout.freeze import freeze_next
from mailer.fanout.sweep import sweep
from mailer.mail.smtp import SmtpConnection
from mailer.storage.database import transaction
from mailer.storage.models import (
    Alert,
    Base,
    Batch,
    OutboxMessage,
    Outcome,
    RelayState,
    Release,
    Subscriber,
    Subscription,
    Uncertain,
)
from mailer.storage.types import now
from tests.processes import eventually
from tests.relay import SILENCE, Relay
from tests.support.press_room import PressRoom, open_press_room

ADA, BOB, CAI, DAG, EVA = (
    "ada@example.org",
    "bob@example.com",
    "cai@example.net",
    "dag@example.org",
    "eva@example.com",
)
FOLLOWERS = (ADA, BOB, CAI, DAG, EVA)

T = TypeVar("T")


def crowd(number: int, domains: int = 3) -> list[str]:
    """Name so many people, spread over so many domains."""
    return [f"follower{one:03}@domain{one % domains}.example" for one in range(number)]


@dataclass
class SendingRoom(PressRoom):
    """A press room, and the relay to which its releases are sent in this process."""

    relay: Relay

    def freeze(self, connections: int = 1) -> int:
        """Publish a release and freeze its audience; returns its id."""
        release_id = self.publish()
        with transaction() as session:
            assert freeze_next(session, connections) == release_id
        return release_id

    def claim(self) -> Claim | None:
        """Claim the next free batch."""
        with transaction() as session:
            return next(iter(claim(session, self.settings.lease_seconds)), None)

    def adjust(self, **changes: object) -> None:
        """Change settings, by the names of their fields."""
        self.settings = self.settings.model_copy(update=changes)

    def drain(self) -> None:
        """Send what is free, by the real drain against the real relay."""
        asyncio.run(drain(self.settings, asyncio.Event()))

    def sweep(self) -> None:
        """Go round once."""
        sweep(self.settings)

    @contextmanager
    def draining(self) -> Iterator[Callable[[], None]]:
        """Drain beside the test; what is yielded asks the drain to leave."""
        leaving, loops = asyncio.Event(), []

        async def work() -> None:
            loops.append(asyncio.get_running_loop())
            await drain(self.settings, leaving)

        def leave() -> None:
            loops[0].call_soon_threadsafe(leaving.set)

        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(contextvars.copy_context().run, lambda: asyncio.run(work()))
            yield leave
            running.result()

    @contextmanager
    def drained_while_silent_to(self, address: str) -> Iterator[Callable[[], None]]:
        """Drain beside the test; the relay is silent at a recipient's RCPT until its end."""
        self.relay.answer(address, at="rcpt", reply=SILENCE, times=1)
        with self.draining() as leave:
            eventually(lambda: self.relay.silences, "the relay is silent")
            yield leave
            self.relay.break_connections()

    def dies_when(self, condition: Callable[[], object]) -> None:
        """Drain until the condition holds, and then end without another word to the database."""

        async def work() -> None:
            draining = asyncio.create_task(drain(self.settings, asyncio.Event()))
            while not condition():
                assert not draining.done(), "it was done before it could die"
                await asyncio.sleep(0.01)
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            while tasks:
                # More than once: wait_for() swallows a cancellation that meets its answer.
                for task in tasks:
                    task.cancel()
                _, tasks = await asyncio.wait(tasks, timeout=0.1)
            for connection in gc.get_objects():
                if type(connection) is SmtpConnection:
                    connection.abort()

        asyncio.run(work())

    def received(self) -> Counter[str]:
        """Count what the relay has taken, by recipient."""
        return Counter(one.recipient for one in self.relay.received)

    def suppressed(self) -> set[str]:
        """Return the addresses that nothing is sent to any more."""
        return {one.address for one in self.rows(Subscriber) if one.suppressed_at is not None}

    def change_subscription(self, address: str, **values: object) -> None:
        """Change somebody's subscription behind the back of whoever sends."""
        subscription_id = self.subscription(address).id
        with transaction() as session:
            session.execute(
                update(Subscription).where(Subscription.id == subscription_id).values(values)
            )

    def leave(self, address: str) -> None:
        """End somebody's subscription."""
        self.unsubscribe(self.subscription(address).id)

    def pause_reader(self, address: str, **time: float) -> None:
        """Let somebody rest for so long, a week if nothing is said."""
        self.change_subscription(address, paused_until=now() + timedelta(**time or {"weeks": 1}))

    def later(self, **time: float) -> None:
        """Let time pass: every moment that is written down is so much longer ago."""
        passed = timedelta(**time)
        with transaction() as session:
            for table, names in _MOMENTS.items():
                for row in session.scalars(select(table)):
                    for name in names:
                        moment = getattr(row, name)
                        gone = int(passed.total_seconds() * 1000)
                        if moment is not None:
                            earlier = moment - (gone if isinstance(moment, int) else passed)
                            setattr(row, name, earlier)


_MOMENTS: dict[type[Base], tuple[str, ...]] = {
    Release: ("published_at", "starts_at", "frozen_at", "not_before", "resumed_at"),
    Batch: ("lease_until", "not_before", "dated_at"),
    Outcome: ("next_at", "doubted_at", "at"),
    RelayState: ("answered_at", "probe_after", "refused_since", "ended_at"),
    OutboxMessage: ("lease_until", "not_before", "created_at", "dated_at"),
    Uncertain: ("dated_at",),
    Alert: ("due",),
}


def together(*works: Callable[[], T]) -> list[T]:
    """Run pieces of work at the same time, a thread each, and return their results."""
    with ThreadPoolExecutor(len(works)) as threads:
        running = [threads.submit(contextvars.copy_context().run, work) for work in works]
        return [one.result() for one in running]


@contextmanager
def open_sending_room(environment: dict[str, str], relay: Relay) -> Iterator[SendingRoom]:
    """Open a press room in an app context; retries come soon, and there is one connection.

    A reply is waited for longer than any busy machine takes.
    """
    waits = {"MAILER_RETRY_SECONDS": "1", "MAILER_SMTP_TIMEOUT_SECONDS": "60"}
    variables = waits | environment
    with open_press_room(variables["DATABASE_URL"], **variables) as room, room.app.app_context():
        sending = SendingRoom(**vars(room), relay=relay)
        sending.adjust(connections=1)
        yield sending
