"""A release on its way through a world: its followers, its receipt, and when it is at rest."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mailer.domain.releases.receipts import Receipt
from tests.support.press_room import PressRoom
from tests.support.scripted_relay import Answer, Script, ScriptedRelay, Stage, script
from tests.support.world import World

HOURS_AT_MOST = 75
DEAD, FULL = Answer("550 5.1.1 No such user"), Answer("452 4.2.2 Mailbox full")
ADA = "follower000@domain0.example"


def people(number: int, domains: int = 20) -> list[str]:
    """Name so many followers of so many domains."""
    return [f"follower{one:03}@domain{one % domains}.example" for one in range(number)]


def some(share: float, stage: Stage, answer: Answer) -> Script:
    """Answer a share of the recipients so, always the same ones."""
    return lambda at, recipient, _: (
        answer if at == stage and recipient and random.Random(recipient).random() < share else None
    )


def everybody(stage: Stage, answer: Answer) -> Script:
    return script(("", stage, answer))


@dataclass
class Sending:
    """A release in a world, on its way."""

    world: World
    release_id: int

    @property
    def room(self) -> PressRoom:
        return self.world.room

    @property
    def relay(self) -> ScriptedRelay:
        return self.world.relay

    @property
    def receipt(self) -> Receipt:
        """The receipt, which balances."""
        receipt = self.room.receipt(self.release_id)
        parts = (receipt.accepted, receipt.refused, receipt.skipped, receipt.deferred)
        assert sum(parts) + receipt.waiting == receipt.total
        return receipt

    @property
    def because(self) -> str:
        return self.room.release(self.release_id).paused_because or ""

    async def until_at_rest(self, hours: float = HOURS_AT_MOST) -> Receipt:
        """Let time pass until the release is done, stopped or paused, or for so long."""
        end = self.world.clock.seconds + hours * 3600
        while (receipt := self.receipt).state in ("sending", "stopping"):
            assert self.world.clock.seconds < end, receipt
            await self.world.next_sweep()
        return receipt

    def taken(self) -> Counter[str]:
        return self.relay.copies(b"\r\nPrecedence: list\r\n")


Playing = Callable[..., Any]
"""Plays a story; what it takes says the fixture `playing`."""
