"""A press room with followers, and everything a fan-out test wants to do and to see."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import select, update

from mailer.app import create_app
from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.followers import follower_csv
from mailer.domain.releases import lifecycle, publishing, receipts
from mailer.domain.releases.receipts import Receipt
from mailer.domain.releases.release_body import ReleaseBody
from mailer.fanout.batches import Claim, claim
from mailer.fanout.dispatcher import drain
from mailer.fanout.freeze import freeze_next
from mailer.fanout.sweep import sweep
from mailer.mail.smtp import SmtpConnection
from mailer.storage.database import db, read_transaction, transaction
from mailer.storage.models import (
    Base,
    Batch,
    OutboxMessage,
    Outcome,
    Publisher,
    Release,
    Subscriber,
    Subscription,
    Uncertain,
)
from mailer.storage.types import now
from tests.relay import Relay

ADA, BOB, CAI, DAG, EVA = (
    "ada@example.org",
    "bob@example.com",
    "cai@example.net",
    "dag@example.org",
    "eva@example.com",
)
FOLLOWERS = (ADA, BOB, CAI, DAG, EVA)
SENDER = "presse@fjordavisa.example"
SLUG = "fjordavisa"

R = TypeVar("R", bound=Base)
T = TypeVar("T")


def crowd(number: int, domains: int = 3) -> list[str]:
    """Name so many people, spread over so many domains."""
    return [f"follower{one:03}@domain{one % domains}.example" for one in range(number)]


@dataclass
class PressRoom:
    """One press room, seen from inside the process that sends its releases."""

    settings: Settings
    relay: Relay
    publisher: Publisher

    def follow(self, *addresses: str) -> None:
        """Let people follow who have confirmed long ago."""
        lines = ["address", *addresses]
        report = follower_csv.import_followers(SLUG, lines, locales=("nb", "nn", "en"))
        assert report.added == len(addresses), report

    def publish(self, **fields: Any) -> int:
        """Publish a release; returns its id."""
        content = {
            "reference": secrets.token_hex(8),
            "language": "nb",
            "title": "Båten er hjemme igjen",
            "body_html": "<p>Skuta ligger ved kai.</p>",
            **fields,
        }
        return publishing.publish(self.settings, self.publisher, ReleaseBody.read(content)).id

    def correct(self, release_id: int, **changes: Any) -> int:
        """Put a better version in the place of a release; returns its id."""
        body = ReleaseBody.read({**self.release(release_id).content, **changes})
        return publishing.correct(self.settings, self.publisher, release_id, body).id

    def retract(self, release_id: int, note: str | None = None) -> int:
        """Take a release back; returns the id of what takes its place."""
        return publishing.retract(self.settings, self.publisher, release_id, note).id

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

    def stop(self, release_id: int) -> str:
        """Stop a release, and return its state."""
        return lifecycle.stop(self.publisher, release_id).state

    def resume(self, release_id: int) -> str:
        """Resume a release, and return its state."""
        return lifecycle.resume(self.settings, self.publisher, release_id).state

    def receipt(self, release_id: int) -> Receipt:
        """Return the receipt of a release, which always balances."""
        receipt = receipts.receipt(self.publisher, release_id)
        parts = (receipt.accepted, receipt.refused, receipt.skipped, receipt.deferred)
        assert receipt.total == sum(parts) + receipt.waiting, receipt
        assert min(*parts, receipt.waiting) >= 0, receipt
        return receipt

    def fate(self, release_id: int, address: str) -> tuple[str, str | None]:
        """Return what became of one recipient, and why."""
        fate = receipts.recipient(self.publisher, release_id, address)
        return fate["state"], fate["reason"]

    def uncertain(self, release_id: int) -> set[str]:
        """Return who may have a release twice, as the account of each recipient says."""
        with read_transaction() as session:
            listed = session.scalars(
                select(Subscriber.address)
                .join(Subscription, Subscription.subscriber_id == Subscriber.id)
                .join(Uncertain, Uncertain.subscription_id == Subscription.id)
                .where(Uncertain.release_id == release_id)
            ).all()
        for one in listed:
            assert receipts.recipient(self.publisher, release_id, one)["uncertain"]
        return set(listed)

    def received(self) -> Counter[str]:
        """Count what the relay has taken, by recipient."""
        return Counter(one.recipient for one in self.relay.received)

    def rows(self, table: type[R]) -> list[R]:
        """Return all rows of a table in the order of their keys."""
        with read_transaction() as session:
            return list(session.scalars(select(table).order_by(*table.__table__.primary_key)))

    def release(self, release_id: int) -> Release:
        """Return a release as it is now."""
        return lifecycle.find(self.publisher, release_id)

    def subscription(self, address: str) -> Subscription:
        """Return somebody's subscription."""
        with read_transaction() as session:
            return session.scalars(
                select(Subscription)
                .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
                .where(Subscriber.address == address)
            ).one()

    def suppressed(self) -> set[str]:
        """Return the addresses that nothing is sent to any more."""
        return {one.address for one in self.rows(Subscriber) if one.suppressed_at is not None}

    def change(self, address: str, **values: object) -> None:
        """Change somebody's subscription behind the back of whoever sends."""
        subscription_id = self.subscription(address).id
        with transaction() as session:
            session.execute(
                update(Subscription).where(Subscription.id == subscription_id).values(values)
            )

    def leave(self, address: str) -> None:
        """End somebody's subscription."""
        self.change(address, ended_at=now(), ended_reason="unsubscribed: page")

    def pause(self, address: str, **time: float) -> None:
        """Let somebody rest for so long, a week if nothing is said."""
        self.change(address, paused_until=now() + timedelta(**time or {"weeks": 1}))

    def suppress(self, address: str) -> None:
        """Let a mailbox be known not to exist."""
        with transaction() as session:
            session.execute(
                update(Subscriber)
                .where(Subscriber.address == address)
                .values(suppressed_at=now(), suppressed_by=0)
            )

    def erase(self, address: str) -> None:
        """Forget a person; their bare subscription stays."""
        self.change(address, subscriber_id=None)

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
    Release: ("published_at", "starts_at", "frozen_at"),
    Batch: ("lease_until", "not_before"),
    Outcome: ("next_at", "first_deferred_at", "at"),
    OutboxMessage: ("lease_until", "not_before", "created_at"),
}


def together(*works: Callable[[], T]) -> list[T]:
    """Run pieces of work at the same time, a thread each, and return their results."""
    with ThreadPoolExecutor(len(works)) as threads:
        running = [threads.submit(contextvars.copy_context().run, work) for work in works]
        return [one.result() for one in running]


@contextmanager
def press_room(environment: dict[str, str], relay: Relay) -> Iterator[PressRoom]:
    """Open a press room in an app context of its own; waits are short, and one drain is alone."""
    settings = Settings.from_environment(
        {"MAILER_RETRY_SECONDS": "1", "MAILER_SMTP_TIMEOUT_SECONDS": "5", **environment}
    ).model_copy(update={"connections": 1})
    with create_app(settings).app_context():
        publishers.add(
            publishers.PublisherDraft(
                SLUG, "Fjordavisa", SENDER, "nb", "https://fjordavisa.example"
            )
        )
        yield PressRoom(settings, relay, publishers.find(SLUG))
        db.engine.dispose()
