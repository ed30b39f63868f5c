"""The workshop: what all couriers of one process share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailer.config import Settings
from mailer.fanout.batches import Claim, claim
from mailer.fanout.committer import Committer
from mailer.fanout.compositions import Compositor
from mailer.fanout.ledger import Ledger
from mailer.fanout.pace import Pace
from mailer.fanout.recipients import Directory
from mailer.fanout.verdicts import ACCEPTED, Verdict, judge, wants_less
from mailer.mail.replies import Reply, Stage


class Halted(Exception):
    """No further dot may leave for this batch."""


@dataclass(slots=True)
class Workshop:
    """What all couriers of one process share."""

    settings: Settings
    ledger: Ledger
    committer: Committer
    directory: Directory
    compositor: Compositor
    pace: Pace
    leaving: asyncio.Event
    waiting: dict[int, int] = field(default_factory=dict)
    """The releases that have a free batch and nobody here to carry it, with their size."""
    relay_is_away: bool = False
    """Whether the last who wanted to connect was not answered; the log is told once."""
    crowded: bool = False
    """Whether more connections are open than our share of the whole."""

    async def claim(
        self, in_hand: Mapping[int, int], at_most: int, *, small: bool
    ) -> Sequence[Claim]:
        """Claim batches and keep their leases alive until they are finished or handed back."""
        if self.leaving.is_set():
            return ()
        asked = time.monotonic()
        lease = self.settings.lease_seconds
        claims = await self.ledger.transact(
            lambda session: claim(session, lease, in_hand, small=small, at_most=at_most)
        )
        for one in claims:
            self.committer.hold(one, asked)
        return claims

    async def permit(self) -> None:
        """Wait until one more message may leave; raises Halted if it is time to leave before."""
        if self.pace.free:
            return
        permit = asyncio.create_task(self.pace.permit())
        leaving = asyncio.create_task(self.leaving.wait())
        try:
            await asyncio.wait({permit, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not permit.done():
                raise Halted
        finally:
            permit.cancel()
            leaving.cancel()

    def judge(self, stage: Stage, reply: Reply) -> Verdict:
        """Judge an answer, and go by it faster or slower."""
        verdict = judge(stage, reply)
        if verdict is ACCEPTED:
            self.pace.accepted()
        elif wants_less(reply):
            self.pace.slow_down()
        return verdict
