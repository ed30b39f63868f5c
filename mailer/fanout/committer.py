"""The committer: one transaction for what all connections of a process learned, and the leases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from mailer.config import Settings
from mailer.fanout.acknowledgements import FENCED, GO_ON, Progress, renew, write
from mailer.fanout.batches import Claim
from mailer.fanout.ledger import Ledger
from mailer.fanout.positions import move_on
from mailer.fanout.verdicts import Run

_RENEWALS_A_LEASE = 4
_ENOUGH = 0.8
"""Of the connections that carry something: a commit costs the same for one as for many, and while
it is written, the relay still has the messages of the others."""
_GATHER_SECONDS = 0.002
_GATHER_AT_MOST_SECONDS = 0.02
_BUSY = 0.75
"""Of one processor: whoever is that busy with other connections loses nothing by gathering on."""


class Committer:
    """Groups the acknowledgements of all connections into one transaction after another."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._waiting: list[tuple[Progress, asyncio.Future[str]]] = []
        self._arrived = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._leased: dict[Claim, float] = {}
        """When each lease that is held was last asked for."""
        self._runs: dict[int, Run] = {}

    def hold(self, claim: Claim, since: float) -> None:
        """Keep a claimed lease alive from now on; `since` is when it was asked for."""
        self._leased[claim] = since

    def safe(self, claim: Claim) -> bool:
        """Tell whether so much of the lease is left that a dot may leave."""
        asked = self._leased.get(claim)
        return asked is not None and time.monotonic() - asked < self._settings.lease_seconds / 2

    def holds(self, claim: Claim) -> bool:
        """Tell whether a claim is ours, as far as we have heard."""
        return claim in self._leased

    def record(self, progress: Progress) -> asyncio.Future[str]:
        """Promise to write a progress down.

        The future gives the release's state once it is durable; anything but GO_ON means
        that no further dot may leave for this batch, and FENCED that it is no longer ours.
        """
        self._count_run(progress)
        durable: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((progress, durable))
        if len(self._waiting) >= len(self._leased) * _ENOUGH:
            self._arrived.set()
        elif len(self._waiting) == 1:
            self._gather(time.monotonic())
        return durable

    async def run(self) -> None:
        """Commit what has arrived, for as long as the process drains."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._gathering is not None:
                self._gathering.cancel()
                self._gathering = None
            together, self._waiting = self._waiting, []
            if not together:
                continue
            asked = time.monotonic()
            states = await self._write([progress for progress, _ in together])
            for (progress, durable), state in zip(together, states, strict=True):
                self._note(progress, state, asked)
                if not durable.cancelled():
                    durable.set_result(state)

    async def keep_leases(self) -> None:
        """Renew every lease that is held, also while a relay takes its time."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / _RENEWALS_A_LEASE)
            claims = list(self._leased)
            asked = time.monotonic()
            alive = await self._ledger.write(
                partial(renew, claims=claims, lease_seconds=self._settings.lease_seconds)
            )
            # What was handed back in the meantime is held no longer.
            self._leased.update(dict.fromkeys(self._leased.keys() & alive, asked))
            for claim in set(claims).difference(alive):
                self._leased.pop(claim, None)

    def _gather(self, began: float) -> None:
        """Wait a little for others; longer while this thread has enough to do as it is."""
        moment, worked = time.monotonic(), time.thread_time()

        def look() -> None:
            now = time.monotonic()
            busy = time.thread_time() - worked >= _BUSY * (now - moment)
            if busy and now - began < _GATHER_AT_MOST_SECONDS:
                self._gather(began)
            else:
                self._arrived.set()

        self._gathering = asyncio.get_running_loop().call_later(_GATHER_SECONDS, look)

    async def _write(self, together: Sequence[Progress]) -> Sequence[str]:
        """Write what arrived together; positions alone are past the ORM."""
        lease = self._settings.lease_seconds
        if self._go_on(together):
            moving = partial(move_on, together=together, lease_seconds=lease)
            if await self._ledger.state(moving):
                return [GO_ON] * len(together)
        writing = partial(write, together=together, settings=self._settings)
        return await self._ledger.write(writing)

    def _go_on(self, together: Sequence[Progress]) -> bool:
        """Tell whether all of it is positions, and no release may be done with it."""
        if not all(progress.plain and not progress.hand_back for progress in together):
            return False
        finished = {progress.claim for progress in together if progress.finished}
        # While another batch of a release is in our hands, that release is not done.
        staying = {claim.release_id for claim in self._leased.keys() - finished}
        return {claim.release_id for claim in finished} <= staying

    def _note(self, progress: Progress, state: str, asked: float) -> None:
        if progress.ends or state == FENCED:
            self._leased.pop(progress.claim, None)
        else:
            self._leased[progress.claim] = asked

    def _count_run(self, progress: Progress) -> None:
        """Count equal refusals, and let a run of them pause the release and blame nobody."""
        if progress.accepted:
            self._runs.pop(progress.claim.release_id, None)
        for finding in progress.findings:
            run = self._runs.setdefault(progress.claim.release_id, Run())
            if run.add(finding.subscription_id, finding.address, finding.verdict):
                progress.pause_because = run.sentence
                progress.forgiven += run.refused
                run.clear()
