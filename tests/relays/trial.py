"""A trial of a relay: one release as usual, the same while the relay misbehaves, and the count."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self, runtime_checkable

from sqlalchemy import create_engine, select

from mailer.storage.database import transaction
from mailer.storage.models import Outcome, Release, Subscriber, Subscription
from tests.processes import eventually
from tests.relays.row import Row
from tests.service import Service, application
from tests.support.recorder import OPENED
from tests.support.relay_process import Entry, Named, RelayProcess
from tests.support.trial import Parts, ServiceTrial

_PATIENCE_SECONDS = 90.0
_LOOK_SECONDS = 0.2
_LOOK_AT_STATE_SECONDS = 0.002
_SETTINGS = {"MAILER_SWEEP_SECONDS": "1", "WEB_CONCURRENCY": "1"}
_HALTED = ("paused", "stopping", "stopped")


@runtime_checkable
class Configured(Protocol):
    """A relay that is a real mail server."""

    def limit(self, lines: str) -> None:
        """Start it anew with these lines in its configuration."""

    def refusals(self) -> int:
        """How often it has refused something, by its log."""


@dataclass(frozen=True)
class Measured:
    """What a release took: seconds, and who did not get it in time."""

    seconds: float
    starved: int = 0
    named_after: int | None = None
    """How many RCPTs the relay read after the release had been paused or stopped."""
    remark: str = ""
    taken: float | None = None
    """Of a throttle, after the first minute: how much of what it takes was sent to it."""
    throttled: float | None = None
    """The share of its answers that were refusals then."""


class RelayTrial(ServiceTrial):
    """A release to everyone, and a relay that misbehaves when it is told to."""

    def __init__(self, parts: Parts, service: Service, relay: RelayProcess, row: Row) -> None:
        super().__init__(parts, service, relay, row.size, row.domains)
        self.row = row
        self.sick = {one for one in self.people if row.is_sick(one)}
        self.began = 0.0
        self._before = 0
        self._workers = ["releases", "colleague"][: row.workers]
        for name in self._workers[1:]:
            self.start_worker(name)

    @classmethod
    @contextmanager
    def running(cls, parts: Parts, row: Row) -> Iterator[Self]:
        """Set up the service, the relay, and a press room with followers."""
        settings = {**_SETTINGS, "MAILER_CONNECTIONS": str(row.connections), **row.settings}
        with (
            row.relay_class.open(parts.folder, str(row.number), 0.0) as relay,
            cls.serving(parts, settings, relay) as service,
        ):
            yield cls(parts, service, relay, row)

    def plain(self) -> float:
        """Publish while all is well, and give the seconds: twice, and the faster one counts."""
        if self.row.allowed:
            allowed = self.row.allowed // self.row.workers
            self.restart_workers(MAILER_CONNECTIONS=str(allowed))
        found = []
        for _ in range(2):
            self.publish()
            measured = self.measure(set())
            assert not measured.starved, "somebody got nothing while all was well"
            self.until_done()
            found.append(measured.seconds)
        if self.row.allowed:
            self.restart_workers(MAILER_CONNECTIONS=str(self.row.connections))
        return min(found)

    def misbehave(self) -> None:
        """Let the relay misbehave as the row says, from now on."""
        if self.row.rules:
            self.relay.follow(self.row.rules)
        if self.row.limits:
            assert isinstance(self.relay, Configured)
            self.relay.limit(self.row.limits)

    def publish(self) -> None:
        """Publish to everyone, and note the moment."""
        self._before = len(self.relay.entries())
        self.began = time.time()
        super().publish()

    def measure(self, sick: set[str] | None = None) -> Measured:
        """Wait until every healthy follower has it (`done` if the row says so); from publishing."""
        ends = time.monotonic() + _PATIENCE_SECONDS + self.row.bound(0.0, len(self.sick))
        while not self._reached(sick) and time.monotonic() < ends:
            time.sleep(_LOOK_SECONDS)
        now, ill = time.time(), self.ill() if sick is None else sick
        entries = [one for one in self.arrived() if one.recipient not in ill]
        missing = len(self.people - ill - {one.recipient for one in entries})
        exact = entries and not missing and not self.row.until_done
        end = max(one.at for one in entries) if exact else now
        return Measured(end - self.began, missing)

    def arrived(self) -> list[Entry]:
        """Give the messages of the newest release."""
        entries = self.relay.entries()[self._before :]
        return [one for one in entries if one.recipient in self.people]

    def ill(self) -> set[str]:
        """Give whom the relay has not taken by its rules, those drawn by chance included."""
        if not any(rule.chance for rule in self.row.rules):
            return self.sick
        answers = [one for one in self.relay.named() if one.at > self.began and one.address]
        bad = Counter(one.address for one in answers if not one.reply.startswith("2"))
        put_off = {one.address for one in answers if _puts_off(one)}
        return self.sick | put_off | {one for one, times in bad.items() if times > 1}

    def until_halted(self) -> float:
        """Wait until the database says that it is paused or stopped; give a moment before that."""
        engine = create_engine(self.parts.database_url)
        question = select(Release.state).where(Release.id == self.release)
        moment = time.time()

        def halted() -> bool:
            nonlocal moment
            began = time.time()
            with engine.connect() as connection:
                if connection.scalar(question) in _HALTED:
                    return True
            moment = began
            time.sleep(_LOOK_AT_STATE_SECONDS)
            return False

        try:
            ends = time.monotonic() + 2 * _PATIENCE_SECONDS
            while not halted():
                assert time.monotonic() < ends, f"waited in vain for a pause: {self.receipt()}"
        finally:
            engine.dispose()
        return moment

    def refusals(self) -> int:
        """How often the relay has not given its usual answer."""
        if isinstance(self.relay, Configured):
            return self.relay.refusals()
        return sum(not one.reply.startswith("2") for one in self.relay.named())

    def most_open(self) -> int:
        """How many connections were open at the same moment, at most."""
        return max(int(one.reply[4:]) for one in self.relay.named() if one.stage == OPENED)

    def named_after(self, moment: float) -> int:
        """Wait until the relay is named nobody any more, and count since that moment."""
        self.relay.quiet()
        answers = self.relay.named()
        return sum(one.stage == "rcpt" and one.at > moment for one in answers)

    def wronged(self) -> set[str]:
        """Give who is refused or suppressed without a refusal of the relay that means it."""
        with application(self.service.environment), transaction() as session:
            refused = session.scalars(
                select(Subscriber.address)
                .join(Subscription, Subscription.subscriber_id == Subscriber.id)
                .join(Outcome, Outcome.subscription_id == Subscription.id)
                .where(Outcome.release_id == self.release, Outcome.kind == "refused")
            ).all()
            suppressed = session.scalars(
                select(Subscriber.address).where(Subscriber.suppressed_at.is_not(None))
            ).all()
        may = self.row.may_be_refused
        return {one for one in refused if not may(one)} | {
            one for one in suppressed if not may(one, "5.1.1")
        }

    def copies(self) -> Counter[str]:
        """Count the copies of the newest release by recipient."""
        return Counter(one.recipient for one in self.arrived())

    def _reached(self, sick: set[str] | None) -> bool:
        state = self.receipt()["state"]
        if state == "paused":
            return True
        if self.row.until_done:
            return bool(state == "done")
        arrived = {one.recipient for one in self.arrived()}
        ill = self.sick if sick is None else sick
        if len(arrived) < len(self.people - ill) * 0.8:
            return False
        return self.people - (self.ill() if sick is None else sick) <= arrived

    def restart_workers(self, **settings: str) -> None:
        """Start the workers for releases anew with other settings."""
        for name in self._workers:
            self.service.processes[name].stop()
            self.start_worker(name, **settings)
        eventually(partial(self._all_run), "the workers run")

    def _all_run(self) -> bool:
        return all(self.service.processes[name].running for name in self._workers)


def _puts_off(answer: Named) -> bool:
    return answer.reply[:1] in ("4", "5") and not answer.reply.startswith("421")
