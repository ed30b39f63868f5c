"""Delivery of batches: each message's dot is gated by the commit of what came before it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from mailer.fanout.acknowledgements import GO_ON, Acknowledged, AcknowledgementWriter
from mailer.fanout.answers.pauses import DOTS_UNANSWERED, sentence_about
from mailer.fanout.answers.replies import ACCEPTED, Verdict
from mailer.fanout.batches import Claim
from mailer.fanout.database_thread import Abandoned
from mailer.fanout.delivery.envelopes import Envelopes
from mailer.fanout.delivery.members import Members, NextMessage
from mailer.fanout.delivery.message import (
    Delivery,
    DeliveryContext,
    Halted,
    NotConnected,
    SenderRefused,
    Skipped,
)
from mailer.fanout.outcomes import Finding, Progress
from mailer.fanout.recipients import LOOKED_UP_SECONDS, RecipientLoader
from mailer.mail.smtp import Mail
from mailer.mail.smtp_protocol import Reply

_TURN_SECONDS, _SETTLED_SECONDS = 5, 2.0
_STATE_SECONDS = 1.0
"""How long the state of a release, as a commit returned it, may be relied on."""
_NAMED_AT_MOST = 2
"""Recipients that may be named to the relay before the state of the release is read again."""
_SENDER_REFUSED_SECONDS = 0.1
"""How long a connection waits after a refusal at MAIL before it tries the same recipient again."""
_UNANSWERED = 20
"""Unanswered dots of a release in a row, after which it is paused."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class BatchContext:
    """What all connections that deliver batches share in one process."""

    delivery: DeliveryContext
    acknowledgements: AcknowledgementWriter
    recipients: RecipientLoader
    waiting: dict[int, int] = field(default_factory=dict)
    """Releases that have a free batch and no free connection here: total recipients by id."""
    runs: set[BatchRun] = field(default_factory=set)


class BatchRun:
    """The delivery of one claimed batch: its position, and what is not yet recorded of it."""

    def __init__(self, context: BatchContext, claim: Claim) -> None:
        self.claimed = claim
        self._delivery = Delivery(context.delivery)
        self._context = context
        self._shared = context.delivery
        self._answers = context.acknowledgements.answers(claim.release_id)
        self._began = self._looked_up = time.monotonic()
        self._known = Acknowledged(GO_ON, self._shared.leases.asked(claim))
        self._position = self._recorded = claim.position
        self._accepted = self._sender_taken = False
        self._findings: list[Finding] = []
        self._members = Members(context.recipients, claim, self._shared)
        self._following: NextMessage | None = None
        self._durable: asyncio.Future[Acknowledged] | None = None
        self._probing, self._probe_refused = claim.probe, False
        self._refused = False  # a refusal has to be durable before the next MAIL
        self._envelopes = Envelopes(self._answers)

    async def run(self, delivery: Delivery) -> None:
        """Send the batch until it ends or is handed back; raises NotConnected if that is why."""
        self._delivery = delivery
        self._context.runs.add(self)
        try:
            await self._send_all()
        except Halted:
            self._delivery.drop()
            await self._hand_back()
        except SenderRefused as refusal:
            await self._hand_back(sender_refused=None if self._probing else refusal.reply)
        except NotConnected as failure:
            await self._hand_back()
            await self._end_probe(failure.reply)
            raise
        except Abandoned:
            raise
        except Exception as error:
            # A mistake of ours pauses this release alone.
            log.exception("Batch %d broke.", self.claimed.batch_id)
            self._delivery.drop()
            await self._hand_back(pause_because=sentence_about(error))
        finally:
            self._context.runs.discard(self)
            await self._members.settled()
        await self._end_probe(None)

    def give_way(self) -> None:
        """Let other connections have the members who were not named yet: this one may wait long."""
        self._members.split(self._position + 1 + self._envelopes.is_ahead)
        if not self._envelopes.is_ahead:
            self._following = None

    async def before_envelope(self, *, connected_at: float) -> None:
        """Wait for a permit and, after a refusal, for its commit; raises Halted and Skipped."""
        await self._shared.permit()
        if self._refused or self._envelopes.named >= _NAMED_AT_MOST:
            await self._gate()
            self._refused = False
        if self._is_last(self._position):
            # Its acceptance can speak for every refusal that was read before.
            await self._answers.settled(_SETTLED_SECONDS)
        if self._known.asked < connected_at:
            recipients = self._context.recipients
            self._know(await recipients.state_since(self.claimed.release_id, connected_at))
        await self._look_again_if_old()
        self._envelopes.write()

    async def before_content(self) -> Mail | None:
        """Wait until every earlier recipient is durable, and return the message that follows.

        Skipped ones count: after a crash, only who is at the recorded position may have the message
        already. Raises Halted and Skipped.
        """
        # The next message is composed while the last acknowledgement is being committed.
        if self._following is None:
            self._following = await self._members.next_message(self._position + 1)
        await self._gate()
        await self._look_again_if_old()
        if (mail := self._to_send_ahead(self._following)) is not None:
            self._envelopes.write_ahead()
        return mail

    def lost(self, *, after_dot: bool) -> None:
        """Count the envelopes that get no answer any more."""
        self._envelopes.lost(after_dot=after_dot)

    @property
    def unwritten(self) -> int:
        """How many members of the batch have not been written to yet, as far as is known."""
        return len(self.claimed.members) - self._position - self._envelopes.unanswered

    def _is_last(self, position: int) -> bool:
        """Tell whether a member is the last one of the release that this process has claimed."""
        return position == len(self.claimed.members) - 1 and not any(
            run.unwritten
            for run in self._context.runs
            if run is not self and run.claimed.release_id == self.claimed.release_id
        )

    def _to_send_ahead(self, following: NextMessage) -> Mail | None:
        """Return the message that follows if its envelope may leave with the next dot."""
        if following.mail is None or not self._delivery.sends_ahead(following.mail):
            return None
        waits = self._is_last(following.position) or not following.is_fresh or self._has_to_end()
        return following.mail if not waits and self._shared.send_rate.permit_at_once() else None

    async def _end_probe(self, reply: Reply | None) -> None:
        """Note that the probe failed, if this is one and nothing was accepted."""
        if self._probing:
            await self._shared.probe_failed(reply, recipient_refused=self._probe_refused)

    async def _send_all(self) -> None:
        """Go through the members in order; raises what `hand_over` does."""
        while (mail := await self._next()) is not None:
            if self._has_to_end():
                await self._hand_back()
                return
            verdict = await self._hand_over(mail)
            await self._members.settled()
            if self._probing and verdict.kind in ("deferred", "doubted", "unanswered"):
                self._note_probe(mail, verdict)
                await self._hand_back()
                return
            self._note(mail, verdict)
            if verdict.kind == "unanswered" and self._answers.unanswered >= _UNANSWERED:
                await self._hand_back(pause_because=DOTS_UNANSWERED)
                return
            if verdict is not ACCEPTED or self._shared.temporary_refusals.number:
                await self._shared.count(mail.recipient, verdict, retry=self.claimed.retry)
        await (self._durable or self._record())

    async def _hand_over(self, mail: Mail) -> Verdict:
        """Hand over one message, again while the relay refuses the sender only now and then."""
        while True:
            self._envelopes.go_on()
            try:
                return await self._delivery.hand_over(mail, self)
            except SenderRefused as refusal:
                if self._answers.may_be_throttled:
                    self._shared.send_rate.answered(accepted=False, throttled=True)
                rested, permanent = self.claimed.rests > 0, refusal.reply.permanent
                refused = self._envelopes.sender_refused(rested=rested, permanent=permanent)
                if self._probing or refused:
                    raise
                self._refused = True
                self._record()
                await asyncio.sleep(_SENDER_REFUSED_SECONDS)

    async def _hand_back(
        self, *, pause_because: str | None = None, sender_refused: Reply | None = None
    ) -> None:
        """Record the position and what was found up to it, and free the batch's lease."""
        self._delivery.drop_if_sent_ahead()
        self.lost(after_dot=False)
        progress = self._progress()
        progress.hand_back, progress.pause_because = True, pause_because
        progress.sender_refused = sender_refused
        await self._context.acknowledgements.record(progress)

    async def _next(self) -> Mail | None:
        """Step over skipped recipients, record up to there, and return the next message."""
        following, self._following = self._following, None
        if following is None or not (self._envelopes.is_ahead or following.is_fresh):
            following = await self._members.next_message(self._position)
        self._looked_up = following.asked
        self._findings += following.skipped
        self._position = following.position
        if self._recorded < self._position:
            self._record()
        return following.mail

    async def _gate(self) -> None:
        """Wait until every earlier recipient is durable; raises Halted."""
        if self._durable is not None:
            self._know(await self._durable)
        # Too little is left of the lease to rely on it, so it is renewed first.
        if self._known.state == GO_ON and not self._shared.leases.is_safe(self.claimed):
            self._know(await self._record())
        if self._known.state != GO_ON:
            raise Halted

    def _know(self, acknowledged: Acknowledged) -> None:
        """Rely on a state from now on; a newer one allows more recipients to be named."""
        if acknowledged is not self._known:
            self._known, self._envelopes.named = acknowledged, 0

    async def _look_again_if_old(self) -> None:
        """Read the state and the recipient once more, if need be; raises Halted and Skipped."""
        now, skip = time.monotonic(), None
        until = min(self._known.asked + _STATE_SECONDS, self._looked_up + LOOKED_UP_SECONDS)
        if now > until or self._envelopes.named >= _NAMED_AT_MOST:
            state, skip = await self._context.recipients.look_again(self.claimed, self._position)
            self._know(Acknowledged(state, now))
            self._looked_up = now
        if self._known.state != GO_ON:
            raise Halted
        if skip is not None:
            raise Skipped(skip)

    def _note_probe(self, mail: Mail, verdict: Verdict) -> None:
        """Keep what a failed probe found: who was never tried is put off, which does not count."""
        self._probe_refused = verdict.kind != "unanswered"
        if verdict.kind == "unanswered":
            self._note(mail, verdict)
        elif not self.claimed.retry:
            self._note(mail, Verdict("deferred", verdict.reason), counted=False)

    def _note(self, mail: Mail, verdict: Verdict, *, counted: bool = True) -> None:
        """Keep what became of a message until it is recorded, and count what it says of more."""
        member = self.claimed.members[self._position]
        written = self._envelopes.answered()
        if written is not None:
            self._answers.note(written, verdict.kind, member)
        if verdict is ACCEPTED:
            self._accepted, self._probing = True, False
        if verdict is not ACCEPTED or self.claimed.retry:
            self._findings.append(Finding(member, mail.recipient, verdict, counted))
        if self.claimed.rests and verdict.kind in ("accepted", "deferred", "doubted"):
            self._sender_taken = True
        self._position, self._refused = self._position + 1, verdict is not ACCEPTED

    def _has_to_end(self) -> bool:
        """Tell whether to hand back: shutdown, a halt, too many connections, other releases."""
        shared, durable = self._shared, self._durable
        halted = durable is not None and durable.done() and durable.result().state != GO_ON
        waits = shared.sends_nothing and not self._probing
        if halted or waits or shared.shutdown.is_set():
            return True
        if time.monotonic() - self._began < _TURN_SECONDS:
            return False
        return bool(shared.over_share or self._context.waiting.keys() - {self.claimed.release_id})

    def _record(self) -> asyncio.Future[Acknowledged]:
        self._recorded = self._position
        self._durable = self._context.acknowledgements.record(self._progress())
        return self._durable

    def _progress(self) -> Progress:
        """Take what is not yet recorded; a finding must be written with its position."""
        progress = Progress(self.claimed, self._position, self._accepted, self._findings)
        progress.sender_taken = self._sender_taken
        self._accepted, self._findings, self._sender_taken = False, [], False
        return progress
