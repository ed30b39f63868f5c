"""Random worlds: followers, a relay and what happens, all drawn from a seed, and four promises."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from mailer.domain.releases.receipts import Receipt
from mailer.storage.models import Subscriber, Subscription
from tests.support.scripted_relay import Chances, ScriptedRelay, Stage, at_random
from tests.support.world import World, world

_HOUR = 3600
_ENDS_WITHIN = 75 * _HOUR
_RESUMES = 3
_RELEASE_LETTERS = b"\r\nPrecedence: list\r\n"
_ENVELOPE: tuple[Stage, ...] = ("rcpt", "data", "dot")
_ALL: tuple[Stage, ...] = ("banner", "hello", "mail", *_ENVELOPE)


@dataclass(frozen=True)
class Ending:
    """How a world ended, and the promises that it broke."""

    receipt: Receipt
    copies: Counter[str]
    broken: tuple[str, ...]

    def __str__(self) -> str:
        """Write all of it, the same for the same world."""
        return f"{sorted(asdict(self.receipt).items())} {sorted(self.copies.items())} {self.broken}"


def play(seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    """Play the world of a seed to its end."""
    draw = random.Random(seed)
    number = draw.randint(1, 19) if draw.random() < 0.5 else draw.randint(20, 500)
    domains = draw.choice((1, 3, 20))
    addresses = [f"follower{one:03}@domain{one % domains}.example" for one in range(number)]
    relay = at_random(seed, _chances(draw))
    limits = {"connections": draw.choice((None, None, 1, 4))}
    settings = {"connections": draw.choice((1, 2, 8)), "retry_seconds": 300, "lease_seconds": 60}
    with world(
        folder, monkeypatch, lambda clock: ScriptedRelay(clock, relay, **limits), **settings
    ) as made:
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
    broken: list[str] = []
    room = running.room
    ids = [one.id for one in room.rows(Subscription)]
    worker = running.start_worker()
    release_id = room.publish(reference="r")
    accepted = resumes = 0
    for moment, happening in happenings:
        await asyncio.sleep(max(0.0, moment - running.clock.seconds))
        if happening == "kill":
            running.kill(worker)
            worker = running.start_worker()
        elif happening == "pause":
            room.pause(release_id)
        else:
            room.unsubscribe(draw.choice(ids))
    receipt = room.receipt(release_id)
    while receipt.state not in ("done", "stopped") and running.clock.seconds < _ENDS_WITHIN:
        broken += _look(receipt, accepted)
        accepted = receipt.accepted
        if receipt.state == "paused":
            if resumes == _RESUMES:
                break
            resumes += 1
            room.resume(release_id)
        await asyncio.sleep(60 if running.clock.seconds < _HOUR else 600)
        receipt = room.receipt(release_id)
    broken += _look(receipt, accepted)
    if receipt.state not in ("done", "stopped", "paused"):
        broken.append("it does not end")
    copies = running.relay.copies(_RELEASE_LETTERS)
    broken += _unaccounted(running, release_id, copies)
    return Ending(receipt, copies, tuple(dict.fromkeys(broken)))


def _look(receipt: Receipt, accepted: int) -> list[str]:
    """Check that the receipt balances, and that `accepted` has not fallen."""
    parts = (receipt.accepted, receipt.refused, receipt.skipped, receipt.deferred, receipt.waiting)
    broken = ["the receipt does not balance"] if sum(parts) != receipt.total else []
    return broken + (["accepted has fallen"] if receipt.accepted < accepted else [])


def _unaccounted(running: World, release_id: int, copies: Counter[str]) -> list[str]:
    """Check that each recipient whom the relay took is accepted or uncertain."""
    room = running.room
    listed = room.uncertain(release_id)
    states = {one: room.recipient(release_id, one)["state"] for one in copies}
    taken = [one for one, state in states.items() if state != "accepted" and one not in listed]
    twice = [one for one, number in copies.items() if number > 1 and one not in listed]
    lost = [
        one
        for one in (subscriber.address for subscriber in room.rows(Subscriber))
        if one not in copies and room.recipient(release_id, one)["state"] == "accepted"
    ]
    return [
        *(f"taken, but {states[one]}" for one in taken),
        *("twice and not listed" for _ in twice),
        *("accepted, but not taken" for _ in lost),
    ]
