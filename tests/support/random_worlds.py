"""Random worlds: followers, a relay and what happens, all drawn from a seed, and four promises.

python -m tests.support.random_worlds 0 100
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mailer.domain.releases import receipts
from mailer.domain.releases.receipts import Receipt
from mailer.errors import NotFound
from mailer.storage.migrations import upgrade
from mailer.storage.models import Subscriber, Subscription
from tests.support.press_room import PressRoom
from tests.support.scripted_relay import Chances, Moment, ScriptedRelay, Stage, Taken, at_random
from tests.support.virtual_time import VirtualClock
from tests.support.world import WorkerTasks, World, world

_ENDS_WITHIN_SECONDS = 75 * 3600
_SWEEPS_AT_MOST = 2_000
"""A release that is retried for two days needs some hundred, but a relay that closes at every
message makes it thousands; it is healed then, and only a release that still goes on has no end."""
_RESUMES = 3
"""Before the last of them the relay is healed, and the release has to be done."""
_SMALL = 20
"""With fewer followers, each account is compared with the receipt also before the end."""
_TO = re.compile(rb"^To: <(.*)>\r$", re.MULTILINE)
_LINK = re.compile(rb"/(?:one-click|unsubscribe|manage)/([\w.-]+)")
_RELEASE_LETTERS = b"\r\nPrecedence: list\r\n"
_ENVELOPE: tuple[Stage, ...] = ("rcpt", "data", "dot")
_ALL: tuple[Stage, ...] = ("banner", "hello", "mail", *_ENVELOPE)


@dataclass(frozen=True)
class Plan:
    """What happens in a world beside the sending itself."""

    workers: int
    happenings: tuple[tuple[float, str], ...]
    """What is done at which second."""
    kills: frozenset[tuple[int, Moment]]
    """At which dots the worker is killed from whom they come, before or after the answer."""

    @classmethod
    def drawn(cls, draw: random.Random, followers: int) -> Plan:
        """Draw up to four happenings; every second kill is by a dot, and not by the clock."""
        happenings: list[tuple[float, str]] = []
        kills: set[tuple[int, Moment]] = set()
        for _ in range(draw.randint(0, 4)):
            happening = draw.choice(("kill", "pause", "leave", "leave"))
            if happening == "kill" and draw.random() < 0.5:
                kills.add((draw.randrange(followers), draw.choice(("before", "after"))))
            else:
                happenings.append((draw.uniform(0, 120), happening))
        return cls(draw.choice((1, 1, 2)), tuple(sorted(happenings)), frozenset(kills))


@dataclass(frozen=True)
class Ending:
    """How a world ended, and the promises that it broke."""

    seconds: float
    receipt: Receipt
    named: tuple[tuple[float, str], ...]
    taken: tuple[tuple[float, str], ...]
    broken: tuple[str, ...]

    def __str__(self) -> str:
        """Write all of it, the same for the same world."""
        receipt = sorted(asdict(self.receipt).items())
        return f"{self.seconds} {receipt} {self.named} {self.taken} {self.broken}"


def play(seed: int, template: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    """Play the world of a seed to its end, on copies of a migrated SQLite database."""
    draw = random.Random(seed)
    number = draw.randint(1, 19) if draw.random() < 0.5 else draw.randint(20, 500)
    domains = draw.choice((1, 3, 20))
    addresses = [f"follower{one:03}@domain{one % domains}.example" for one in range(number)]
    answers = at_random(seed, _chances(draw))
    connections = draw.choice((None, None, 1, 4))
    rate = draw.choice((None, None, None, 5.0, 50.0))
    settings = {"connections": draw.choice((1, 2, 8)), "retry_seconds": 300, "lease_seconds": 60}

    plan = Plan.drawn(draw, number)

    def relay(clock: VirtualClock) -> ScriptedRelay:
        return ScriptedRelay(
            clock, answers, connections=connections, messages_a_second=rate, cuts=seed
        )

    with world(template, monkeypatch, relay, **settings) as made:
        made.room.add_followers(*addresses)
        return made.run(lambda running: _story(running, draw, plan))


def _chances(draw: random.Random) -> Chances:
    return Chances(
        refusal=draw.choice((0.0, 0.2, 0.9)),
        permanent=draw.choice((0.0, 0.3, 1.0)),
        delay=draw.choice((0.0, 0.05)),
        silence=draw.choice((0.0, 0.0, 0.05)),
        closing=draw.choice((0.0, 0.1)),
        stages=draw.choice((_ENVELOPE, _ENVELOPE, _ALL)),
        sick=draw.choice((0.02, 0.3, 1.0)),
    )


async def _story(running: World, draw: random.Random, plan: Plan) -> Ending:
    room, relay = running.room, running.relay
    ids = [one.id for one in room.rows(Subscription)]
    workers = Workers(running, plan)
    release_id = room.publish(reference="r")
    looks = Looks(room, release_id)
    for moment, happening in plan.happenings:
        await asyncio.sleep(max(0.0, moment - running.clock.seconds))
        if happening == "kill":
            workers.kill(draw.choice(workers.alive))
        elif happening == "pause":
            room.pause(release_id)
        else:
            room.unsubscribe(draw.choice(ids))
        looks.look(closely=len(ids) < _SMALL)
    if wrong := await _end(running, release_id, looks):
        looks.broken.append(wrong)
    receipt = looks.look(closely=True)
    broken = (*looks.broken, *_unaccounted(room, release_id, relay), *_astray(room, relay.taken))
    return Ending(
        running.clock.seconds,
        receipt,
        tuple(relay.named),
        tuple((one.at, one.recipient) for one in relay.taken),
        tuple(dict.fromkeys(broken)),
    )


async def _end(running: World, release_id: int, looks: Looks) -> str | None:
    """Resume a release until it is done, or return why that does not come."""
    resumes, resumed, sweeps = 0, 0.0, _SWEEPS_AT_MOST
    while (state := looks.look().state) != "done":
        if state == "paused":
            if resumes == _RESUMES:
                return "paused, though the relay accepts everything"
            resumes += 1
            if resumes == _RESUMES:
                running.relay.heal()
            running.room.resume(release_id)
            resumed = running.clock.seconds
        late = running.clock.seconds > resumed + _ENDS_WITHIN_SECONDS
        if late or running.sweeps > 2 * _SWEEPS_AT_MOST:
            return "it does not end"
        if running.sweeps > sweeps:
            sweeps *= 2
            running.relay.heal()
        await running.next_sweep()
    return None


class Workers:
    """The workers of a world: who is killed has a successor at once."""

    def __init__(self, running: World, plan: Plan) -> None:
        self.alive = [running.start_worker() for _ in range(plan.workers)]
        self._running = running
        self._kills = plan.kills
        running.relay.at_dot = self._at_dot

    def kill(self, worker: WorkerTasks) -> None:
        """Kill a worker, and start another."""
        self._running.kill(worker)
        self.alive[self.alive.index(worker)] = self._running.start_worker()

    def _at_dot(self, number: int, moment: Moment, protocol: asyncio.Protocol) -> None:
        owner = self._running.owner(protocol)
        if (number, moment) in self._kills and owner in self.alive:
            self.kill(owner)


class Looks:
    """What looks at the receipt, one after another, have found wrong."""

    def __init__(self, room: PressRoom, release_id: int) -> None:
        self.broken: list[str] = []
        self._room = room
        self._release_id = release_id
        self._accepted = 0

    def look(self, *, closely: bool = False) -> Receipt:
        """Check that the receipt balances, and that `accepted` has not fallen.

        Looked at closely, it must say what the account of each recipient says, one by one.
        """
        receipt = receipts.receipt(self._room.publisher, self._release_id)
        parts = (receipt.accepted, receipt.refused, receipt.skipped, receipt.deferred)
        if sum(parts) + receipt.waiting != receipt.total or min(*parts, receipt.waiting) < 0:
            self.broken.append("the receipt does not balance")
        if receipt.accepted < self._accepted:
            self.broken.append("accepted has fallen")
        if closely and not _is_sum(self._room, self._release_id, receipt):
            self.broken.append("the receipt is not the sum of its recipients")
        self._accepted = receipt.accepted
        return receipt


def _accounts(room: PressRoom, release_id: int) -> dict[str, tuple[str, str | None]]:
    """Return the state and the reason of each recipient, by address."""
    found = {}
    for one in room.rows(Subscriber):
        # Who left before the freeze is no recipient.
        with suppress(NotFound):
            found[one.address] = room.outcome(release_id, one.address)
    return found


def _is_sum(room: PressRoom, release_id: int, receipt: Receipt) -> bool:
    """Tell whether a receipt counts what the account of each recipient says."""
    accounts = _accounts(room, release_id)
    states = Counter(state for state, _ in accounts.values())
    reasons = Counter(account for account in accounts.values() if account[1] is not None)
    counted = {"total": len(accounts), "uncertain": len(room.uncertain(release_id)), **states}
    kinds = {"accepted": 0, "refused": 0, "skipped": 0, "deferred": 0, "waiting": 0} | counted
    written = {
        (kind, reason): number
        for kind, numbers in receipt.reasons.items()
        for reason, number in numbers.items()
        # The account of a recipient does not say why it is uncertain.
        if kind != "uncertain"
    }
    return all(getattr(receipt, kind) == kinds[kind] for kind in kinds) and written == reasons


def _unaccounted(room: PressRoom, release_id: int, relay: ScriptedRelay) -> list[str]:
    """Check that each recipient whose message the relay took is accepted or uncertain."""
    copies = relay.copies(_RELEASE_LETTERS)
    listed = room.uncertain(release_id)
    states = {one: state for one, (state, _) in _accounts(room, release_id).items()}
    taken = {one: states.get(one, "no recipient") for one in copies if one not in listed}
    twice = [one for one, number in copies.items() if number > 1 and one not in listed]
    lost = [one for one, state in states.items() if state == "accepted" and one not in copies]
    return [
        *(f"taken, but {state}" for state in taken.values() if state != "accepted"),
        *("twice and not listed" for _ in twice),
        *("accepted, but not taken" for _ in lost),
    ]


def _astray(room: PressRoom, taken: list[Taken]) -> list[str]:
    """Check that each message is addressed to its recipient, and its links are of the same."""
    addresses = {one.id: one.address for one in room.rows(Subscriber)}
    ids = {addresses[one.subscriber_id or 0]: one.id for one in room.rows(Subscription)}
    tokens, broken = room.tokens, []
    for one in taken:
        if _TO.findall(one.content) != [one.recipient.encode()]:
            broken.append("addressed to another")
        if _RELEASE_LETTERS in one.content:
            number = ids[one.recipient]
            own = {tokens.token("one-click", number), tokens.token("unsubscribe", number)}
            links = _LINK.findall(one.content.replace(b"=\r\n", b""))
            if {token.decode() for token in links} != own:
                broken.append("with links of another")
    return broken


def main() -> None:
    """Play the worlds from one seed to another, and print a line for each broken promise."""
    logging.disable()
    first, last = int(sys.argv[1]), int(sys.argv[2])
    found: defaultdict[str, list[int]] = defaultdict(list)
    began = time.perf_counter()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        template = Path(folder) / "template.sqlite3"
        upgrade(f"sqlite:///{template}")
        for seed in range(first, last):
            with monkeypatch.context() as patched:
                for one in play(seed, template, patched).broken:
                    found[one].append(seed)
                    print(f"{seed}: {one}", flush=True)
    print(f"{(last - first) / (time.perf_counter() - began):.1f} worlds a second")
    for one, seeds in sorted(found.items()):
        print(f"{one}: {len(seeds)}, as in {seeds[:12]}")


if __name__ == "__main__":
    main()
