"""The workshop: what all couriers of one process share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailer.config import Settings
from mailer.fanout.acknowledgements import GO_ON, Committer, Progress
from mailer.fanout.batches import Claim, claim
from mailer.fanout.database_thread import Ledger
from mailer.fanout.outcomes import Finding
from mailer.fanout.recipients import NOWHERE, Directory, look_along
from mailer.fanout.release_letters import Compositor
from mailer.fanout.replies import ACCEPTED, Verdict, judge, wants_less
from mailer.fanout.send_rate import Pace
from mailer.mail.smtp import Mail, SmtpConnection
from mailer.mail.smtp_protocol import Rejected, Reply, Stage, Unanswered

# JOINED: """Delivery: one batch after another over one SMTP connection, each dot gated by a commit."""


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


_LOSSES = 3
_REST_SECONDS = 10
_AWAY_SECONDS = 2
"""How long a batch rests if nobody answers: a relay that was started anew is soon back."""
_TURN_SECONDS = 5
_LOST = Verdict("deferred", "4.4.2")
_UNANSWERED = Verdict("back", "4.4.1")
_BROKEN = Verdict("pause", "", "Something broke on our side; the log of the worker says what.")

log = logging.getLogger(__name__)


class Courier:
    """Carries batches to the relay over a connection of its own."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self.connection: SmtpConnection | None = None

    async def deliver(self, claim: Claim) -> None:
        """Send a batch from its position on, until it ends or has to be handed back."""
        carried = _Round(self, self._shop, claim)
        try:
            await carried.run()
        except Halted:
            self.drop()
            await carried.hand_back()
        except Exception:
            # A mistake of ours. The other releases must not wait for somebody to mend it.
            log.exception("Batch %d of release %d broke.", claim.batch_id, claim.release_id)
            self.drop()
            await carried.hand_back(_BROKEN)

    async def connect(self) -> SmtpConnection:
        """Open the connection; raises Rejected or Unanswered."""
        settings = self._shop.settings
        try:
            self.connection = await SmtpConnection.open(
                settings.relay, longest_wait=settings.smtp_timeout_seconds
            )
        except Unanswered as loss:
            if not self._shop.relay_is_away:
                log.warning("The relay does not take us: %s", loss)
            self._shop.relay_is_away = True
            raise
        self._shop.relay_is_away = False
        return self.connection

    def drop(self) -> None:
        """Close the connection at once, so that a body without its dot is forgotten."""
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    def disengage(self) -> None:
        """Close the connection if it waits for a message that will not follow."""
        if self.connection is not None and self.connection.engaged:
            self.drop()

    async def leave(self) -> None:
        """Say goodbye to the relay."""
        if self.connection is not None:
            await self.connection.quit()
            self.connection = None


@dataclass(slots=True)
class _Leg:
    """A step through the batch: who is left out, and who comes next, nobody at the end."""

    skipped: list[Finding]
    position: int
    mail: Mail | None


class _Round:
    """One batch on its way: where it stands, and what is not yet written down."""

    def __init__(self, courier: Courier, workshop: Workshop, claim: Claim) -> None:
        self._courier = courier
        self._shop = workshop
        self._claim = claim
        self._began = time.monotonic()
        self._position = self._recorded = claim.position
        self._accepted = False
        self._findings: list[Finding] = []
        self._uncertain: list[int] = []
        self._stretch = NOWHERE
        self._following: _Leg | None = None
        self._durable: asyncio.Future[str] | None = None

    async def run(self) -> None:
        """Go through the members in order; raises Halted if the batch may not go on."""
        while (mail := await self._next()) is not None:
            if self._has_to_end():
                await self.hand_back()
                return
            verdict = await self._send(mail)
            if verdict.kind in ("back", "pause"):
                await self.hand_back(verdict)
                return
            self._note(mail, verdict)
        await (self._durable or self._record())

    async def hand_back(self, verdict: Verdict | None = None) -> None:
        """Give the batch back where it stands, with what was found up to there."""
        self._courier.disengage()
        progress = self._progress()
        progress.hand_back = True
        if verdict is not None and verdict.kind == "back":
            progress.rest_seconds = _AWAY_SECONDS if verdict is _UNANSWERED else _REST_SECONDS
        elif verdict is not None:
            progress.pause_because = verdict.sentence
        await self._shop.committer.record(progress)

    async def _next(self) -> Mail | None:
        """Step over who is left out, write down all until there, and return the next message."""
        leg = self._following or await self._look_ahead(self._position)
        self._following = None
        self._findings += leg.skipped
        self._position = leg.position
        if self._recorded < self._position:
            self._record()
        return leg.mail

    async def _look_ahead(self, position: int) -> _Leg:
        """Look from a position on for the next who is to be sent to, and compose the message."""
        members = self._claim.members
        skipped: list[Finding] = []
        while position < len(members):
            if position not in self._stretch.positions:
                self._stretch = await look_along(self._shop, self._claim, position)
            found = self._stretch.mail(position)
            if isinstance(found, Mail):
                return _Leg(skipped, position, found)
            skipped.append(found)
            position += 1
        return _Leg(skipped, position, None)

    async def _send(self, mail: Mail) -> Verdict:
        """Hand one message over, again after a lost connection."""
        for _ in range(_LOSSES):
            try:
                verdict = await self._hand_over(mail)
            except Rejected as refusal:
                verdict = self._shop.judge(refusal.stage, refusal.reply)
            except Unanswered as loss:
                # RFC 5321 section 3.8: a lost connection is a 451, and the same message follows.
                self._courier.drop()
                if loss.stage in ("connect", "auth"):
                    return _UNANSWERED
                if loss.stage == "dot":
                    self._uncertain.append(self._claim.members[self._position])
                continue
            if verdict.kind in ("back", "pause"):
                self._courier.drop()
            return verdict
        return _LOST

    async def _hand_over(self, mail: Mail) -> Verdict:
        """Send envelope and content; the content waits for what came before to be durable."""
        connection = self._courier.connection or await self._courier.connect()
        await connection.envelope(mail)
        # While the last acknowledgement is on its way to the disk, the next is composed.
        if self._following is None:
            self._following = await self._look_ahead(self._position + 1)
        if not self._shop.pace.free:
            await self._shop.permit()
        await self._gate()
        following = None if self._has_to_end() else self._following.mail
        return self._shop.judge("dot", await connection.content(mail, following))

    async def _gate(self) -> None:
        """Wait until what came before is durable and the batch is still ours to send.

        That includes who was skipped: after a crash, the recipient at the recorded position is
        the one who may have the message already.
        """
        if self._durable is not None and await self._durable != GO_ON:
            raise Halted
        # Too little of the lease is left to be sure of it: ask for it anew.
        if not self._shop.committer.safe(self._claim) and await self._record() != GO_ON:
            raise Halted

    def _note(self, mail: Mail, verdict: Verdict) -> None:
        """Remember what became of a message until it is written down."""
        if verdict is ACCEPTED and not self._claim.retry:
            self._accepted = True
        else:
            member = self._claim.members[self._position]
            self._findings.append(Finding(member, mail.recipient, verdict))
        self._position += 1

    def _has_to_end(self) -> bool:
        """Tell whether the batch goes back: we leave, it was halted, or it is others' turn."""
        shop = self._shop
        if shop.leaving.is_set() or (self._durable is not None and _halted(self._durable)):
            return True
        if time.monotonic() - self._began < _TURN_SECONDS:
            return False
        return bool(shop.crowded or shop.waiting.keys() - {self._claim.release_id})

    def _record(self) -> asyncio.Future[str]:
        self._recorded = self._position
        self._durable = self._shop.committer.record(self._progress())
        return self._durable

    def _progress(self) -> Progress:
        """Take what is not yet written down; what is found must go with its position."""
        progress = Progress(
            self._claim, self._position, self._accepted, self._findings, self._uncertain
        )
        self._accepted, self._findings, self._uncertain = False, [], []
        return progress


def _halted(durable: asyncio.Future[str]) -> bool:
    return durable.done() and durable.result() != GO_ON
