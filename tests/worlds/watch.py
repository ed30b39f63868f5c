"""What is noted while a world goes on: who follows, what is halted, how receipts balance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf

from mailer.domain.releases import receipts
from mailer.domain.releases.receipts import Receipt
from mailer.storage.database import driver, read_transaction
from mailer.storage.models import Subscriber, Subscription
from tests.support.press_room import PressRoom
from tests.support.scripted_relay import Taken
from tests.support.world import World
from tests.worlds.plan import Plan
from tests.worlds.relay import MoodyRelay

_HOUR = 3600.0
_ENDS_WITHIN_SECONDS = 75 * _HOUR
FEW = 20
"""In worlds with fewer followers, every receipt and every account is looked at."""
_LOOK_EVERY = 25
"""Transactions, in worlds with more followers."""
_STATES = "SELECT id, state FROM releases"
_HALTED = frozenset({"paused", "stopping", "stopped"})
_ENDED = frozenset({"done", "stopped"})
_RELEASE_LETTERS = b"\r\nPrecedence: list\r\n"


@dataclass
class Halt:
    """A time in which nothing of a release is to be sent, and the connections at its beginning."""

    release_id: int
    writes: int
    """How often clients had written to the relay by then."""
    connections: int
    ended: float = inf


@dataclass(frozen=True)
class Follower:
    """Somebody who follows a press room from some time on."""

    room: PressRoom
    address: str
    subscription_id: int
    since: float = -inf


class Watch:
    """What is known of a world, beside what its relay has heard."""

    def __init__(self, running: World, plan: Plan, rooms: list[PressRoom]) -> None:
        assert isinstance(running.relay, MoodyRelay)
        self.running, self.plan, self.rooms, self.relay = running, plan, rooms, running.relay
        self.broken: list[str] = []
        """The promises that were broken, each once."""
        self.worst: dict[str, float] = {}
        self.followers = [one for room in rooms for one in _followers(room)]
        self.left: dict[int, float] = {}
        """When who had this subscription left."""
        self.erased: set[str] = set()
        self.signed_up: list[Follower] = []
        self.stopped: set[int] = set()
        """The releases that a press officer has stopped: those not reached yet get nothing."""
        self.halts: list[Halt] = []
        self.allowed_copies = 0
        self.states: dict[int, str] = {}
        """The state of each release at the last look."""
        self._since: dict[int, float] = {}
        self._accepted: Counter[int] = Counter()
        self._transactions = 0

    @property
    def now(self) -> float:
        """The seconds of the world."""
        return self.running.clock.seconds

    def leaves(self, subscription_id: int) -> None:
        """Note that somebody leaves now."""
        self.left[subscription_id] = self.now

    def disturbed(self, copies: int) -> None:
        """Note what may cost second copies: of one message for each of these connections."""
        self.allowed_copies += copies

    def confirmable(self) -> list[Follower]:
        """Return those who have their letter, and note that they follow from now on."""
        letters = {one.recipient for one in self.relay.taken if not is_release(one)}
        ready = [one for one in self.signed_up if one.address in letters]
        ready = [one for one in ready if one.subscription_id not in self.left]
        known = {one.subscription_id for one in self.followers}
        new = [one for one in ready if one.subscription_id not in known]
        self.followers += [
            Follower(one.room, one.address, one.subscription_id, self.now) for one in new
        ]
        return new

    def late(self) -> str | None:
        """Return what is wrong if something should have come to its end by now."""
        seconds = self.now - max((self.plan.healthy_from, *self._since.values()))
        self.note("hours until a release ends", seconds / _HOUR)
        return "it does not end" if seconds > _ENDS_WITHIN_SECONDS else None

    def after_transaction(self) -> None:
        """Look, in worlds with more followers at the receipts only now and then."""
        self._transactions += 1
        often = self.plan.followers < FEW or self._transactions % _LOOK_EVERY == 0
        self.look(at_receipts=often)

    def look(self, *, at_receipts: bool = True) -> None:
        """Check that every receipt balances, and that `accepted` has not fallen."""
        with read_transaction() as session:
            for release_id, state in driver(session.connection()).execute(_STATES).fetchall():
                before = self.states.get(release_id)
                if state != before:
                    self.states[release_id] = state
                    self._changed(release_id, before, state)
                if at_receipts and (state not in _ENDED or state != before):
                    self._check(release_id, receipts.count_recipients(session, release_id))

    def _changed(self, release_id: int, before: str | None, state: str) -> None:
        if state in _HALTED and before not in _HALTED:
            writes, connections = self.relay.writes, len(self.relay.open)
            self.halts.append(Halt(release_id, writes, connections))
        elif state not in _HALTED:
            self._since[release_id] = self.now
            for halt in self.halts:
                if halt.release_id == release_id and halt.ended == inf:
                    halt.ended = self.relay.writes

    def _check(self, release_id: int, receipt: Receipt) -> None:
        parts = (receipt.accepted, receipt.refused, receipt.skipped, receipt.deferred)
        if sum(parts) + receipt.waiting != receipt.total or min(*parts, receipt.waiting) < 0:
            self.breaks("the receipt does not balance")
        if receipt.accepted < self._accepted[release_id]:
            self.breaks("accepted has fallen")
        self._accepted[release_id] = receipt.accepted

    def note(self, bound: str, value: float) -> None:
        """Keep the worst value of a bound."""
        self.worst[bound] = max(value, self.worst.get(bound, value))

    def breaks(self, promise: str) -> None:
        """Note that a promise is broken."""
        if promise not in self.broken:
            self.broken.append(promise)


def is_release(one: Taken) -> bool:
    """Tell a release's message from a letter of the outbox."""
    return _RELEASE_LETTERS in one.content


def _followers(room: PressRoom) -> list[Follower]:
    """Return those who follow from the beginning."""
    addresses = {one.id: one.address for one in room.rows(Subscriber)}
    return [
        Follower(room, addresses[one.subscriber_id or 0], one.id)
        for one in room.rows(Subscription)
        if one.publisher_id == room.publisher.id
    ]
