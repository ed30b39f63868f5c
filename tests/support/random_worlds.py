"""Random worlds: followers, a relay and what happens, all drawn from a seed, and four promises.

python -m tests.support.random_worlds 0 100
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mailer.domain.releases import receipts
from mailer.domain.releases.receipts import Receipt
from mailer.storage.migrations import upgrade
from mailer.storage.models import Subscriber, Subscription
from tests.support.press_room import PressRoom
from tests.support.scripted_relay import Chances, ScriptedRelay, Stage, at_random
from tests.support.virtual_time import VirtualClock
from tests.support.world import World, world

_ENDS_WITHIN_SECONDS = 75 * 3600
_SWEEPS_AT_MOST = 3_000
"""Two days of probes need some 600; a world with far more goes in circles."""
_RESUMES = 3
_RELEASE_LETTERS = b"\r\nPrecedence: list\r\n"
_ENVELOPE: tuple[Stage, ...] = ("rcpt", "data", "dot")
_ALL: tuple[Stage, ...] = ("banner", "hello", "mail", *_ENVELOPE)


@dataclass(frozen=True)
class Ending:
    """How a world ended, and the promises that it broke."""

    seconds: float
    receipt: Receipt
    copies: Counter[str]
    broken: tuple[str, ...]

    def __str__(self) -> str:
        """Write all of it, the same for the same world."""
        receipt = sorted(asdict(self.receipt).items())
        return f"{self.seconds} {receipt} {sorted(self.copies.items())} {self.broken}"


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

    def relay(clock: VirtualClock) -> ScriptedRelay:
        return ScriptedRelay(clock, answers, connections=connections, messages_a_second=rate)

    with world(template, monkeypatch, relay, **settings) as made:
        made.room.add_followers(*addresses)
        happenings = sorted(
            (draw.uniform(0, 120), draw.choice(("kill", "pause", "leave", "leave")))
            for _ in range(draw.randint(0, 4))
        )
        return made.run(lambda running: _story(running, draw, happenings))


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


async def _story(
    running: World, draw: random.Random, happenings: list[tuple[float, str]]
) -> Ending:
    room = running.room
    ids = [one.id for one in room.rows(Subscription)]
    worker = running.start_worker()
    release_id = room.publish(reference="r")
    looks = Looks(room, release_id)
    for moment, happening in happenings:
        await asyncio.sleep(max(0.0, moment - running.clock.seconds))
        if happening == "kill":
            running.kill(worker)
            worker = running.start_worker()
        elif happening == "pause":
            room.pause(release_id)
        else:
            room.unsubscribe(draw.choice(ids))
        looks.look()
    resumes = 0
    while (receipt := looks.look()).state not in ("done", "stopped"):
        if receipt.state == "paused" and (resumes := resumes + 1) <= _RESUMES:
            room.resume(release_id)
        elif receipt.state == "paused":
            break
        if running.clock.seconds > _ENDS_WITHIN_SECONDS or running.sweeps > _SWEEPS_AT_MOST:
            looks.broken.append("it does not end")
            break
        await running.next_sweep()
    copies = running.relay.copies(_RELEASE_LETTERS)
    broken = (*looks.broken, *_unaccounted(room, release_id, copies))
    return Ending(running.clock.seconds, receipt, copies, tuple(dict.fromkeys(broken)))


class Looks:
    """What looks at the receipt, one after another, have found wrong."""

    def __init__(self, room: PressRoom, release_id: int) -> None:
        self.broken: list[str] = []
        self._room = room
        self._release_id = release_id
        self._accepted = 0

    def look(self) -> Receipt:
        """Check that the receipt balances, and that `accepted` has not fallen."""
        receipt = receipts.receipt(self._room.publisher, self._release_id)
        parts = (receipt.accepted, receipt.refused, receipt.skipped, receipt.deferred)
        if sum(parts) + receipt.waiting != receipt.total or min(*parts, receipt.waiting) < 0:
            self.broken.append("the receipt does not balance")
        if receipt.accepted < self._accepted:
            self.broken.append("accepted has fallen")
        self._accepted = receipt.accepted
        return receipt


def _unaccounted(room: PressRoom, release_id: int, copies: Counter[str]) -> list[str]:
    """Check that each recipient whose message the relay took is accepted or uncertain."""
    listed = room.uncertain(release_id)
    addresses = [one.address for one in room.rows(Subscriber)]
    states = {one: room.outcome(release_id, one)[0] for one in addresses}
    taken = [one for one in copies if states[one] != "accepted" and one not in listed]
    twice = [one for one, number in copies.items() if number > 1 and one not in listed]
    lost = [one for one in addresses if states[one] == "accepted" and one not in copies]
    return [
        *(f"taken, but {states[one]}" for one in taken),
        *("twice and not listed" for _ in twice),
        *("accepted, but not taken" for _ in lost),
    ]


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
    print(f"{(last - first) / (time.perf_counter() - began):.1f} worlds a second")
    for one, seeds in sorted(found.items()):
        print(f"{one}: {len(seeds)}, as in {seeds[:12]}")


if __name__ == "__main__":
    main()
