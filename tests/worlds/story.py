"""A random world is played: each event of its plan is done to it, and then it comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from mailer.domain import publishers
from mailer.domain.followers import erasure, follower_csv, subscriptions
from mailer.domain.releases import lifecycle
from mailer.errors import MailerError
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Batch, OutboxMessage
from tests.support.press_room import DRAFT, EVIDENCE, PressRoom
from tests.support.scripted_relay import Moment
from tests.support.virtual_time import BEGINNING
from tests.support.world import WorkerTasks, World
from tests.worlds.database import WRITES, Database
from tests.worlds.judgement import Judgement
from tests.worlds.plan import KINDS, OF_RELAY, Event, Plan, address
from tests.worlds.relay import MoodyRelay
from tests.worlds.watch import Follower, Watch

_RESUMES = 20
"""A press officer who has resumed a release as often as this would call somebody."""
_BRIEF = frozenset({"pause", "lose_lease"})
"""Events for which only moments are right, which may be between two transactions."""
_LONGEST_AWAY = 150.0
"""Seconds, of a database or a worker: more than two leases."""


class Story:
    """One world on its way through its plan."""

    def __init__(self, running: World, plan: Plan) -> None:
        assert isinstance(running.relay, MoodyRelay)
        self.running, self.plan, self.relay = running, plan, running.relay
        self.rooms = _open_rooms(running.room, plan)
        self.watch = Watch(running, plan, self.rooms)
        self.releases: list[tuple[PressRoom, int]] = []
        self.seen: set[str] = set()
        """The kinds of events that had an effect."""
        self._workers: list[WorkerTasks] = []
        self._kills: set[tuple[int, Moment]] = set()
        self._waiting: list[Event] = []
        """Events that found nothing to be done to, and are tried again."""
        self._newcomers = plan.followers
        self._database = Database(running.clock)
        running.after_transaction = self._after_transaction
        self._doing: dict[str, Callable[[Event], object]] = {
            name.removeprefix("_do_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_do_")
        }

    async def play(self) -> None:
        """Let all happen, and wait until nothing is left to be sent."""
        self.running.relay.at_dot = self._at_dot
        with self._database.asked():
            self._workers = [self.running.start_worker() for _ in range(self.plan.workers)]
            for one in self.plan.events:
                await asyncio.sleep(max(0.0, one.at - self.running.clock.seconds))
                await self._do(one)
            await asyncio.sleep(max(0.0, self.plan.healthy_from - self.running.clock.seconds))
            await self._database.is_back()
            await self._end()
        self.judgement = Judgement(self.watch)
        self.judgement.judge()

    def _after_transaction(self) -> None:
        if self._database.was_written and self._database.is_there:
            self._database.was_written = False
            self.watch.after_transaction()
            self._try_again(_BRIEF)

    async def _do(self, one: Event) -> None:
        if one.kind in OF_RELAY:
            self.seen.add(one.kind)
            if one.kind == "away":
                self._do_cut(one)
            return
        if one.kind not in ("cut", "kill", "redis_away", "deploy", "turn_clock"):
            await self._database.is_back()
            self._confirm()
        if not self._has_effect(one):
            self._waiting.append(one)
        if self._database.is_there:
            self.watch.look()

    def _has_effect(self, one: Event) -> bool:
        """Let an event happen; False if the state that it needs is another at this moment."""
        try:
            effect = self._doing[one.kind](one) is not False
        except MailerError:
            return False
        if effect:
            self.seen.add(one.kind)
        return effect

    def _try_again(self, kinds: Container[str]) -> bool:
        """Let events of these kinds happen that found nothing to be done to before."""
        tried = [one for one in self._waiting if one.kind in kinds]
        done = [one for one in tried if self._has_effect(one)]
        self._waiting = [one for one in self._waiting if one not in done]
        return bool(done)

    # What happens to releases.

    def _do_publish(self, one: Event, **fields: Any) -> None:
        room = self.rooms[one.who % len(self.rooms)]
        number = len(self.releases)
        release_id = room.publish(reference=f"r{number}", title=f"Release {number}", **fields)
        self._add(room, release_id)

    def _do_schedule(self, one: Event) -> None:
        seconds = self.running.clock.seconds + one.length
        published_at = (BEGINNING + timedelta(seconds=seconds)).isoformat()
        self._do_publish(one, published_at=published_at)

    def _do_hold(self, one: Event) -> None:
        self._do_publish(one, hold_minutes=1 + one.who % 240)

    def _do_correct(self, one: Event) -> None:
        room, release_id = self._release(one)
        new = room.correct(release_id, title=f"Correction of {release_id}")
        self._add(room, new)

    def _do_retract(self, one: Event) -> None:
        room, release_id = self._release(one)
        new = room.retract(release_id)
        self._add(room, new)

    def _do_pause(self, one: Event) -> bool:
        for room, release_id in self._releases(one, "sending"):
            room.pause(release_id)
            return True
        return False

    def _do_stop(self, one: Event) -> bool:
        for room, release_id in self._releases(one, "scheduled", "held", "sending", "paused"):
            room.stop(release_id)
            self.watch.stopped.add(release_id)
            return True
        return False

    def _do_resume(self, one: Event) -> bool:
        for room, release_id in self._releases(one, "held", "paused"):
            room.resume(release_id)
            return True
        return False

    def _do_retry(self, one: Event) -> bool:
        closed = [
            (room, release_id, kind, reason)
            for room, release_id in self._releases(one, "sending", "paused", "done")
            if lifecycle.successor(room.release(release_id)) is None
            for kind in ("refused", "skipped")
            for reason in room.receipt(release_id).reasons.get(kind, ())
        ]
        if not closed:
            return False
        room, release_id, kind, reason = closed[one.who % len(closed)]
        number = lifecycle.retry(room.settings, room.publisher, release_id, kind, reason)
        # Who had two unanswered dots is sent another copy.
        self.watch.disturbed(number)
        return bool(number)

    def _add(self, room: PressRoom, release_id: int) -> None:
        if (room, release_id) not in self.releases:
            self.releases.append((room, release_id))

    def _release(self, one: Event) -> tuple[PressRoom, int]:
        return self.releases[one.who // 7 % len(self.releases)]

    def _releases(self, one: Event, *states: str) -> list[tuple[PressRoom, int]]:
        """Return the releases in some states, beginning with any of them."""
        found = [each for each in self.releases if self.watch.states.get(each[1]) in states]
        first = one.who // 7 % max(1, len(found))
        return [*found[first:], *found[:first]]

    # What people do.

    def _do_leave(self, one: Event) -> bool:
        room = self.rooms[one.who % len(self.rooms)]
        return self._end_subscription(room, self._somebody(one))

    def _somebody(self, one: Event) -> str:
        return address(one.who % self.plan.followers, self.plan.domains)

    def _end_subscription(self, room: PressRoom, who: str) -> bool:
        found = room.open_subscriptions(who, room.publisher.slug)
        for subscription_id in found:
            room.unsubscribe(subscription_id)
            self.watch.leaves(subscription_id)
        return bool(found)

    def _do_come_back(self, one: Event) -> None:
        room = self.rooms[one.who % len(self.rooms)]
        who = self._somebody(one)
        self._end_subscription(room, who)
        self._sign_up(room, who)

    def _do_sign_up(self, one: Event) -> None:
        who = address(self._newcomers, self.plan.domains)
        self._newcomers += 1
        self._sign_up(self.rooms[one.who % len(self.rooms)], who)

    def _sign_up(self, room: PressRoom, who: str) -> None:
        subscription_id = room.sign_up(who, slug=room.publisher.slug)
        self.watch.signed_up.append(Follower(room, who, subscription_id))

    def _do_erase(self, one: Event) -> None:
        who = self._somebody(one)
        for room in self.rooms:
            for subscription_id in room.open_subscriptions(who, room.publisher.slug):
                self.watch.leaves(subscription_id)
        self.watch.erased.add(who)
        erasure.erase(self.running.room.settings, who)

    # What happens to machines.

    def _worker(self, one: Event) -> WorkerTasks:
        return self._workers[one.who % len(self._workers)]

    def _replace(self, worker: WorkerTasks, clock_error: float = 0.0) -> None:
        self._workers[self._workers.index(worker)] = self.running.start_worker(clock_error)

    def _kill(self, worker: WorkerTasks) -> None:
        self.watch.disturbed(self.running.connections(worker))
        self.running.kill(worker)
        self._replace(worker)

    def _do_kill(self, one: Event) -> None:
        self._kill(self._worker(one))

    def _do_kill_at_dot(self, one: Event) -> None:
        moment: Moment = "before" if one.who % 2 else "after"
        self._kills.add((self.relay.dots + one.who % (2 * self.plan.followers), moment))

    def _at_dot(self, number: int, moment: Moment, protocol: asyncio.Protocol) -> None:
        owner = self.running.owner(protocol)
        if (number, moment) in self._kills and owner in self._workers:
            self._kill(owner)

    def _do_freeze(self, one: Event) -> None:
        worker = self._worker(one)
        self.watch.disturbed(self.running.connections(worker))
        worker.awake.clear()
        seconds = min(one.length, _LONGEST_AWAY)
        asyncio.get_running_loop().call_later(seconds, worker.awake.set)

    def _do_lose_lease(self, one: Event) -> bool:
        table = (Batch, OutboxMessage)[one.who % 2]
        with transaction() as session:
            leased = session.scalars(
                select(table.id).where(table.lease_until.is_not(None)).order_by(table.id)
            ).all()
            if leased:
                this = table.id == leased[one.who % len(leased)]
                session.execute(update(table).where(this).values(lease_until=0))
        self.watch.disturbed(len(leased[:1]))
        return bool(leased)

    def _do_cut(self, _one: Event) -> None:
        self.watch.disturbed(len(self.relay.open))
        for session in list(self.relay.open):
            session.abort()

    def _do_deploy(self, one: Event) -> None:
        self._shut_down(self._worker(one))

    def _shut_down(self, worker: WorkerTasks, clock_error: float = 0.0) -> None:
        # A message that takes too long is dropped, as by a kill.
        self.watch.disturbed(self.running.connections(worker))
        self.running.shut_down(worker)
        self._replace(worker, clock_error)

    def _do_turn_clock(self, one: Event) -> None:
        self._shut_down(self._worker(one), one.length / 10 * (-1 if one.who % 2 else 1))

    def _do_redis_away(self, one: Event) -> None:
        self.running.redis_is_away = True

        def come_back() -> None:
            self.running.redis_is_away = False

        asyncio.get_running_loop().call_later(one.length, come_back)

    def _do_database_away(self, one: Event) -> None:
        self.watch.disturbed(len(self.relay.open))
        self._database.leave(min(one.length, _LONGEST_AWAY))

    def _do_read_only(self, one: Event) -> None:
        self.watch.disturbed(len(self.relay.open))
        self._database.leave(min(one.length, _LONGEST_AWAY), WRITES)

    def _do_lost_commit(self, one: Event) -> None:
        self._worker(one).loses_answer = True

    # How it ends.

    async def _end(self) -> None:
        """Wait until everything is sent; a press officer resumes what is paused."""
        resumes: dict[int, int] = {}
        while self._try_again(KINDS) or self._unfinished(resumes):
            if problem := self.watch.late():
                self.watch.breaks(problem)
                return
            self._confirm()
            await self.running.next_sweep()

    def _confirm(self) -> None:
        """Let those confirm who have their letter."""
        for one in self.watch.confirmable():
            subscriptions.confirm(one.room.settings, one.subscription_id, EVIDENCE)

    def _unfinished(self, resumes: dict[int, int]) -> bool:
        self.watch.look(at_receipts=False)
        states = {release_id: self.watch.states[release_id] for _, release_id in self.releases}
        unfinished = not set(states.values()) <= {"done", "stopped"}
        for room, release_id in self.releases:
            if states[release_id] == "paused":
                resumes[release_id] = resumes.get(release_id, 0) + 1
                if resumes[release_id] > _RESUMES:
                    self.watch.breaks("paused again and again")
                    return False
                room.resume(release_id)
                self.watch.look()
        with read_transaction() as session:
            waiting = select(OutboxMessage.id).where(OutboxMessage.finished_at.is_(None)).limit(1)
            return unfinished or session.scalar(waiting) is not None


def _open_rooms(first: PressRoom, plan: Plan) -> list[PressRoom]:
    """Open the press rooms of a plan; every second or third person follows a later one."""
    rooms = [first]
    first.add_followers(*plan.addresses)
    for number in range(1, plan.rooms):
        slug = f"{DRAFT.slug}{number}"
        key = publishers.add(replace(DRAFT, slug=slug))
        room = replace(first, publisher=publishers.find(slug), key=key)
        lines = ["address", *plan.addresses[:: number + 1]]
        follower_csv.import_followers(slug, lines, locales=("nb", "nn", "en"))
        rooms.append(room)
    return rooms
