"""The workshop: what all couriers of one process share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailer.config import Settings
from mailer.fanout.batches import Claim, claim
from mailer.fanout.committer import Committer
from mailer.fanout.compositions import Compositor
from mailer.fanout.ledger import Ledger
from mailer.fanout.pace import Pace
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
    compositor: Compositor
    pace: Pace
    leaving: asyncio.Event
    waiting: dict[int, int] = field(default_factory=dict)
    """The releases that have a free batch and nobody here to carry it, with their size."""
    crowded: bool = False
    """Whether more connections are open than our share of the whole."""

    async def claim(self, in_hand: Mapping[int, int], *, small: bool) -> Claim | None:
        """Claim a batch and keep its lease alive until it is finished or handed back."""
        if self.leaving.is_set():
            return None
        asked = time.monotonic()
        lease = self.settings.lease_seconds
        claimed = await self.ledger.transact(
            lambda session: claim(session, lease, in_hand, small=small)
        )
        if claimed is not None:
            self.committer.hold(claimed, asked)
        return claimed

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
