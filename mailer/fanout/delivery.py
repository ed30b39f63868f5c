"""Delivery: one batch after another over one SMTP connection, each dot gated by a commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailer.config import Settings
from mailer.fanout import replies
from mailer.fanout.acknowledgements import GO_ON, AcknowledgementWriter
from mailer.fanout.batches import Claim, claim
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.outcomes import Finding, Progress
from mailer.fanout.recipients import EMPTY, RecipientLoader
from mailer.fanout.replies import ACCEPTED, Verdict
from mailer.fanout.send_rate import SendRate
from mailer.mail.smtp import Mail, SmtpConnection
from mailer.mail.smtp_protocol import Rejected, Reply, Stage, Unanswered

_LOSSES = 3
"""Connections that may be lost in a row over one message before its recipient is deferred."""
_REST_SECONDS = 10
_AWAY_SECONDS = 2
"""How long a batch rests if the relay does not answer: a restarted relay is soon back."""
_TURN_SECONDS = 5
_BROKEN = Verdict("pause", "", "Something broke on our side; the log of the worker says what.")

log = logging.getLogger(__name__)


class Halted(Exception):
    """No further dot may leave for this batch."""


@dataclass(slots=True)
class DeliveryContext:
    """What all connections of one process share."""

    settings: Settings
    database: DatabaseThread
    acknowledgements: AcknowledgementWriter
    recipients: RecipientLoader
    send_rate: SendRate
    shutdown: asyncio.Event
    waiting: dict[int, int] = field(default_factory=dict)
    """Releases that have a free batch and no free connection here: total recipients by id."""
    relay_is_away: bool = False
    """Whether the last attempt to connect got no answer; the log says so once."""
    over_share: bool = False
    """Whether this process holds more connections than its share of the limit."""

    async def claim(
        self, in_hand: Mapping[int, int], at_most: int, *, small: bool
    ) -> Sequence[Claim]:
        """Claim batches and keep their leases alive until they are finished or handed back."""
        if self.shutdown.is_set():
            return ()
        asked, lease = time.monotonic(), self.settings.lease_seconds
        claims = await self.database.run_in_session(
            lambda session: claim(session, lease, in_hand, small=small, at_most=at_most)
        )
        for one in claims:
            self.acknowledgements.add_lease(one, asked)
        return claims

    async def permit(self) -> None:
        """Wait until the rate limit permits one more message; raises Halted at shutdown."""
        permit = asyncio.create_task(self.send_rate.permit())
        shutdown = asyncio.create_task(self.shutdown.wait())
        try:
            await asyncio.wait({permit, shutdown}, return_when=asyncio.FIRST_COMPLETED)
            if not permit.done():
                raise Halted
        finally:
            permit.cancel()
            shutdown.cancel()

    def classify(self, stage: Stage, reply: Reply) -> Verdict:
        """Classify a reply, and adapt the send rate to it."""
        verdict = replies.classify(stage, reply)
        if verdict is ACCEPTED:
            self.send_rate.accepted()
        elif replies.asks_to_slow_down(reply):
            self.send_rate.slow_down()
        return verdict


class BatchDelivery:
    """Delivers batches to the relay over a connection of its own."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self.connection: SmtpConnection | None = None

    async def deliver(self, claim: Claim) -> None:
        """Send a batch from its position on, until it ends or has to be handed back."""
        run = BatchRun(self, self._context, claim)
        try:
            await run.run()
        except Halted:
            self.drop()
            await run.hand_back()
        except Exception:
            # A mistake of ours pauses this release; other releases go on.
            log.exception("Batch %d of release %d broke.", claim.batch_id, claim.release_id)
            self.drop()
            await run.hand_back(_BROKEN)

    async def connect(self) -> SmtpConnection:
        """Open the connection; raises Rejected or Unanswered."""
        settings = self._context.settings
        try:
            self.connection = await SmtpConnection.open(
                settings.relay, longest_wait=settings.smtp_timeout_seconds
            )
        except Unanswered as loss:
            if not self._context.relay_is_away:
                log.warning("The relay does not take us: %s", loss)
            self._context.relay_is_away = True
            raise
        self._context.relay_is_away = False
        return self.connection

    def drop(self) -> None:
        """Close the connection at once; the relay forgets a message whose dot did not leave."""
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    def drop_if_sent_ahead(self) -> None:
        """Close the connection if the relay waits for a message that will not follow."""
        if self.connection is not None and self.connection.envelope_sent_ahead:
            self.drop()

    async def quit(self) -> None:
        """End the SMTP session with QUIT."""
        if self.connection is not None:
            await self.connection.quit()
            self.connection = None


@dataclass(slots=True)
class NextMessage:
    """The next message of a batch, None at its end, and the recipients skipped before it."""

    skipped: list[Finding]
    position: int
    mail: Mail | None


class BatchRun:
    """The delivery of one claimed batch: its position, and what is not yet recorded of it."""

    def __init__(self, delivery: BatchDelivery, context: DeliveryContext, claim: Claim) -> None:
        self._delivery = delivery
        self._context = context
        self._claim = claim
        self._began = time.monotonic()
        self._position = self._recorded = claim.position
        self._accepted = False
        self._findings: list[Finding] = []
        self._uncertain: list[int] = []
        self._lookahead = EMPTY
        self._following: NextMessage | None = None
        self._durable: asyncio.Future[str] | None = None

    async def run(self) -> None:
        """Go through the members in order; raises Halted if the batch may not go on."""
        while (mail := await self._next()) is not None:
            if self._has_to_end():
                await self.hand_back()
                return
            verdict = await self._send(mail)
            if verdict.kind in ("give_back", "pause"):
                await self.hand_back(verdict)
                return
            self._note(mail, verdict)
        await (self._durable or self._record())

    async def hand_back(self, verdict: Verdict | None = None) -> None:
        """Record the position and what was found up to it, and free the batch's lease."""
        self._delivery.drop_if_sent_ahead()
        progress = self._progress()
        progress.hand_back = True
        if verdict is not None and verdict.kind == "give_back":
            away = verdict is replies.NO_CONNECTION
            progress.rest_seconds = _AWAY_SECONDS if away else _REST_SECONDS
        elif verdict is not None:
            progress.pause_because = verdict.sentence
        await self._context.acknowledgements.record(progress)

    async def _next(self) -> Mail | None:
        """Step over skipped recipients, record up to there, and return the next message."""
        following = self._following or await self._look_ahead(self._position)
        self._following = None
        self._findings += following.skipped
        self._position = following.position
        if self._recorded < self._position:
            self._record()
        return following.mail

    async def _look_ahead(self, position: int) -> NextMessage:
        """Find the next recipient to send to, from a position on, and compose the message."""
        members = self._claim.members
        skipped: list[Finding] = []
        while position < len(members):
            if position not in self._lookahead.positions:
                self._lookahead = await self._context.recipients.load(self._claim, position)
            found = self._lookahead.mail(position)
            if isinstance(found, Mail):
                return NextMessage(skipped, position, found)
            skipped.append(found)
            position += 1
        return NextMessage(skipped, position, None)

    async def _send(self, mail: Mail) -> Verdict:
        """Hand one message over, once more after each lost connection."""
        for _ in range(_LOSSES):
            try:
                verdict = await self._hand_over(mail)
            except Rejected as refusal:
                verdict = self._context.classify(refusal.stage, refusal.reply)
            except Unanswered as loss:
                # RFC 5321 section 3.8: a lost connection is a 451, and the same message follows.
                self._delivery.drop()
                if loss.stage in ("connect", "auth"):
                    return replies.NO_CONNECTION
                if loss.stage == "dot":
                    self._uncertain.append(self._claim.members[self._position])
                continue
            if verdict.kind in ("give_back", "pause"):
                self._delivery.drop()
            return verdict
        return replies.CONNECTION_LOST

    async def _hand_over(self, mail: Mail) -> Verdict:
        """Send envelope and content; the content waits for earlier messages to be durable."""
        connection = self._delivery.connection or await self._delivery.connect()
        await connection.envelope(mail)
        # The next message is composed while the last acknowledgement is being committed.
        if self._following is None:
            self._following = await self._look_ahead(self._position + 1)
        if not self._context.send_rate.unlimited:
            await self._context.permit()
        await self._gate()
        following = None if self._has_to_end() else self._following.mail
        return self._context.classify("dot", await connection.content(mail, following))

    async def _gate(self) -> None:
        """Wait until every earlier recipient is durable.

        Raises Halted if the release is not being sent any more, or the batch's lease is lost.

        Skipped recipients count: after a crash, only the recipient at the recorded position may
        have the message already.
        """
        if self._durable is not None and await self._durable != GO_ON:
            raise Halted
        # Too little is left of the lease to rely on it, so it is renewed first.
        lease_is_safe = self._context.acknowledgements.lease_is_safe(self._claim)
        if not lease_is_safe and await self._record() != GO_ON:
            raise Halted

    def _note(self, mail: Mail, verdict: Verdict) -> None:
        """Keep what became of a message until it is recorded."""
        if verdict is ACCEPTED and not self._claim.retry:
            self._accepted = True
        else:
            member = self._claim.members[self._position]
            self._findings.append(Finding(member, mail.recipient, verdict))
        self._position += 1

    def _has_to_end(self) -> bool:
        """Tell whether to hand back: shutdown, a halt, too many connections, other releases."""
        context, durable = self._context, self._durable
        halted = durable is not None and durable.done() and durable.result() != GO_ON
        if halted or context.shutdown.is_set():
            return True
        if time.monotonic() - self._began < _TURN_SECONDS:
            return False
        return bool(context.over_share or context.waiting.keys() - {self._claim.release_id})

    def _record(self) -> asyncio.Future[str]:
        self._recorded = self._position
        self._durable = self._context.acknowledgements.record(self._progress())
        return self._durable

    def _progress(self) -> Progress:
        """Take what is not yet recorded; a finding must be written with its position."""
        progress = Progress(
            self._claim, self._position, self._accepted, self._findings, self._uncertain
        )
        self._accepted, self._findings, self._uncertain = False, [], []
        return progress
