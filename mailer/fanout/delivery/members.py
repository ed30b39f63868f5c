"""The members of a batch, one after another: who is skipped, and the message to the next one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mailer.fanout.batches import Claim
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

    def __init__(self, recipients: RecipientLoader, claim: Claim) -> None:
        self._recipients = recipients
        self._claim = claim
        self._lookahead = EMPTY

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
