"""Delivery: one message after another over one SMTP connection, and what each answer means."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from mailer.config import Settings
from mailer.fanout.answers import backoff, replies
from mailer.fanout.answers.backoff import TemporaryRefusals
from mailer.fanout.answers.pauses import note_failed_probe
from mailer.fanout.answers.replies import Verdict
from mailer.fanout.answers.send_rate import SendRate
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.delivery.leases import Leases
from mailer.fanout.probes import end_if_all_were_refused
from mailer.mail.smtp import Mail, NotAscii, SmtpConnection
from mailer.mail.smtp_protocol import Rejected, Reply, Stage, Unanswered

_SILENT_SECONDS = 5.0
_LOSSES = 2
"""Connections that may be lost over one message, until its recipient is deferred."""

log = logging.getLogger(__name__)


class Halted(Exception):
    """Nothing more may be sent for this batch or outbox message."""


class Skipped(Exception):
    """The recipient may not be written to any more."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotConnected(Exception):
    """No connection could be opened; `reply` is what the relay answered, None if nothing."""

    def __init__(self, reply: Reply | None) -> None:
        super().__init__()
        self.reply = reply


class SenderRefused(Exception):
    """The relay refused MAIL, which says nothing about the recipient."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


class Permission(Protocol):
    """Says when a message may be sent; each method may wait, and raise Halted or Skipped."""

    async def before_envelope(self, *, connected_at: float) -> None:
        """Wait until MAIL may leave on a connection that is open since this monotonic time."""

    async def before_content(self) -> Mail | None:
        """Wait until the content may leave; returns the mail whose envelope may leave with it."""

    def lost(self, *, after_dot: bool) -> None:
        """Take note that the connection was lost, and whether the dot had been written."""


@dataclass(slots=True)
class DeliveryContext:
    """What all connections of one process share."""

    settings: Settings
    database: DatabaseThread
    leases: Leases
    send_rate: SendRate
    shutdown: asyncio.Event
    temporary_refusals: TemporaryRefusals = field(default_factory=TemporaryRefusals)
    sends_nothing: bool = False
    """Whether everything but a probe is handed back: the relay backoff lasts, or another process
    sets the rate."""
    retries_first: bool = False
    """Whether who was put off goes before who was never tried, since the relay has recovered."""
    answers: int = 0
    """Answers of the relay to messages, over all connections of this process."""
    over_share: bool = False
    """Whether this process holds more connections than its share of the limit."""

    async def permit(self) -> None:
        """Wait until the rate limit permits one more message; raises Halted at shutdown."""
        if not await self.send_rate.permit():
            raise Halted

    async def count(self, address: str, verdict: Verdict, *, retry: bool) -> None:
        """Count a refusal of a recipient of a release; many in a row begin the relay backoff.

        A recipient who is refused at a retry is refused once more, which says nothing of the relay.
        """
        if verdict.kind != "deferred":
            self.temporary_refusals.clear()
        elif retry or verdict is replies.CONNECTION_LOST:
            return
        elif self.temporary_refusals.add(address):
            self.temporary_refusals.clear()
            if await self.database.run_statement(backoff.begin_by_answers):
                self.sends_nothing = True
                log.warning("The relay refuses everybody for now: only probes are sent.")

    async def not_connected(self, reply: Reply | None) -> bool:
        """Begin the relay backoff, unless other connections can be used; True if it began."""
        permanent = reply is not None and reply.permanent
        begun = await self.database.run_statement(
            partial(backoff.begin_by_connection, permanent=permanent)
        )
        if begun:
            self.sends_nothing = True
            log.warning(
                "The relay takes no connection (%s): only probes are sent.",
                reply.status if reply else "it does not answer",
            )
        return begun

    async def probe_failed(self, reply: Reply | None, *, recipient_refused: bool = False) -> None:
        """Note that a probe failed; after 15 minutes of 5yz, pause everything that is sending.

        After an hour in which the relay answers, and refuses only recipients that it refused
        before, the backoff ends: it would hold up the others for them.
        """
        permanent = reply is not None and reply.permanent
        await self.database.run_in_session(partial(note_failed_probe, permanent=permanent))
        if recipient_refused:
            await self.database.run_in_session(end_if_all_were_refused)


class Delivery:
    """Hands messages over to the relay on a connection of its own, which it keeps."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self.connection: SmtpConnection | None = None
        self._waiting: tuple[float, int] | None = None
        self._is_quick = True

    def is_silent(self, *, beside: int = 0) -> bool:
        """Tell whether the relay is silent here for 5 seconds, beside so many answers elsewhere."""
        if self._waiting is None:
            return False
        since, answers = self._waiting
        enough = self._context.answers - answers >= beside
        return enough and time.monotonic() - since >= _SILENT_SECONDS

    async def hand_over(self, mail: Mail, permission: Permission) -> Verdict:
        """Hand over one message, once more on a fresh connection if the relay closes this one.

        A relay that is silent before the dot is given up after 30 seconds, as if it had closed the
        connection, and the second time after what RFC 5321 says: it may verify each recipient.
        Raises SenderRefused, NotConnected, and Halted.
        """
        verdict = replies.CONNECTION_LOST
        for losses in range(_LOSSES):
            try:
                reply = await self._exchange(mail, permission, patient=losses > 0)
            except NotAscii:
                return replies.NOT_ASCII
            except Skipped as skipped:
                # The relay may wait for the content of a message that will not follow.
                self.drop()
                permission.lost(after_dot=False)
                return Verdict("skipped", skipped.reason)
            except Unanswered as loss:
                self.drop()
                permission.lost(after_dot=loss.stage == "dot")
                if loss.stage == "dot":
                    return replies.UNANSWERED
                verdict = replies.CONNECTION_LOST
                continue
            verdict = replies.classify(reply)
            if reply.code != replies.SERVICE_NOT_AVAILABLE:
                break
            # RFC 5321 section 3.8: the relay closes the connection, whatever that is about.
            self.drop()
            permission.lost(after_dot=False)
        return verdict

    async def connect(self) -> SmtpConnection:
        """Open the connection; raises NotConnected."""
        settings = self._context.settings
        self._waits()
        try:
            self.connection = await SmtpConnection.open(
                settings.relay,
                longest_wait=settings.smtp_timeout_seconds,
                name=settings.ehlo_name,
            )
        except Rejected as refusal:
            self._answered("connect", refusal.reply)
            raise NotConnected(refusal.reply) from None
        except Unanswered:
            raise NotConnected(None) from None
        finally:
            self._waiting = None
        return self.connection

    def sends_ahead(self, mail: Mail) -> bool:
        """Tell whether the envelope of a message may leave with the dot before it.

        Behind a dot that is answered late it saves nothing; and if its recipient leaves meanwhile,
        it costs the connection.
        """
        connection = self.connection
        return self._is_quick and connection is not None and connection.sends_ahead(mail)

    def drop(self) -> None:
        """Close the connection at once; the relay forgets a message whose dot did not leave."""
        self._waiting = None
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

    async def _exchange(self, mail: Mail, permission: Permission, *, patient: bool) -> Reply:
        """Send envelope and content; returns the refusal, or the reply to the dot."""
        connection = self.connection or await self.connect()
        connection.patient = patient
        if not connection.envelope_sent_ahead:
            await permission.before_envelope(connected_at=connection.connected_at)
        self._waits()
        try:
            await connection.envelope(mail)
        except Rejected as refusal:
            self._answered(refusal.stage, refusal.reply, again=patient)
            if refusal.stage == "mail":
                if refusal.reply.code == replies.SERVICE_NOT_AVAILABLE:
                    self.drop()
                raise SenderRefused(refusal.reply) from None
            return refusal.reply
        self._waiting = None
        following = await permission.before_content()
        self._waits()
        reply = await connection.content(mail, following)
        self._is_quick = not self.is_silent()
        self._answered("dot", reply, again=patient)
        return reply

    def _waits(self) -> None:
        """Note since when the relay is waited for, and how many answers there were until then."""
        self._waiting = time.monotonic(), self._context.answers

    def _answered(self, stage: Stage, reply: Reply, *, again: bool = False) -> None:
        """Count an answer; the refusal of a message that was tried again at once counts no more."""
        self._waiting = None
        self._context.answers += 1
        # Only who sends the release knows whether a refusal at MAIL is about its sender.
        if stage == "mail" or (again and not reply.completed):
            return
        accepted = reply.completed
        throttled = not accepted and replies.asks_to_slow_down(stage, reply)
        self._context.send_rate.answered(accepted=accepted, throttled=throttled)
