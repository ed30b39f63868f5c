"""The members of a batch, one after another: who is skipped, and the message to the next one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from mailer.fanout.batches import Claim, split
from mailer.fanout.delivery.message import DeliveryContext
from mailer.fanout.outcomes import Finding
from mailer.fanout.recipients import EMPTY, LOOKED_UP_SECONDS, RecipientLoader
from mailer.mail.smtp import Mail


@dataclass(slots=True)
class NextMessage:
    """The next message of a batch, None at its end, and the recipients skipped before it."""

    skipped: list[Finding]
    position: int
    mail: Mail | None
    asked: float
    """The monotonic time before its recipient was looked up."""

    @property
    def is_fresh(self) -> bool:
        """Whether its recipient was looked up short enough ago to be written to."""
        return time.monotonic() - self.asked <= LOOKED_UP_SECONDS


class Members:
    """Looks the members of a batch up, some at a time, and composes the messages to them."""

    def __init__(self, recipients: RecipientLoader, claim: Claim, context: DeliveryContext) -> None:
        self._recipients = recipients
        self._claim = claim
        self._context = context
        self._lookahead = EMPTY
        self._splitting: asyncio.Task[None] | None = None

    def split(self, kept: int) -> None:
        """Let other connections have the members after the first `kept`."""
        if self._splitting is None and kept < len(self._claim.members):
            self._splitting = asyncio.create_task(self._split(kept))

    async def settled(self) -> None:
        """Wait until a split that was begun is durable: until then the batch must not end."""
        if self._splitting is not None:
            await self._splitting

    async def _split(self, kept: int) -> None:
        members, connections = self._claim.members, self._context.settings.connections
        # At once, so that none of them is named here meanwhile.
        rest = members[kept:]
        del members[kept:]
        work = partial(split, claimed=self._claim, kept=kept, connections=connections)
        if not await self._context.database.run_in_session(work):
            members.extend(rest)

    async def next_message(self, position: int) -> NextMessage:
        """Find the next recipient to send to, from a position on, and compose the message."""
        members = self._claim.members
        skipped: list[Finding] = []
        while position < len(members):
            if not self._lookahead.covers(position):
                self._lookahead = await self._recipients.load(self._claim, position)
            found = self._lookahead.mail(position)
            if isinstance(found, Mail):
                return NextMessage(skipped, position, found, self._lookahead.asked)
            skipped.append(found)
            position += 1
        return NextMessage(skipped, position, None, time.monotonic())
