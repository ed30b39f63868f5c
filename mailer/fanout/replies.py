"""Judging: what an SMTP answer means for the recipient, the batch and the release."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from mailer.mail.addresses import domain
from mailer.mail.smtp_protocol import Rejected, Reply, Stage

Kind = Literal["accepted", "deferred", "refused", "skipped", "back", "pause"]

_NO_SUCH_MAILBOX = frozenset({"5.1.1", "5.1.10"})
_WANTING_LESS = (421, 450, 451, 452)
_MAILBOX = ("4.1.", "4.2.")
"""RFC 3463: about the address, and about the mailbox."""
_RUN = 20
_RUN_DOMAINS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one recipient, or, for `back` and `pause`, of the whole batch."""

    kind: Kind
    reason: str = ""
    sentence: str = ""

    @property
    def suppresses(self) -> bool:
        """Whether the mailbox does not exist, so that nothing is ever sent there again."""
        return self.kind == "refused" and self.reason in _NO_SUCH_MAILBOX


ACCEPTED = Verdict("accepted")


def judge(stage: Stage, reply: Reply) -> Verdict:
    """Judge an answer by how far the message had come (RFC 5321 section 4.2.1, RFC 3463)."""
    if reply.completed:
        return ACCEPTED
    if reply.positive:
        # Go on with what? The server is not where we are; that is no acceptance.
        return Verdict("deferred", reply.status)
    recipients_own = stage in ("rcpt", "data", "dot")
    if reply.permanent:
        if recipients_own:
            return Verdict("refused", reply.status)
        return Verdict("pause", reply.status, _complaint(stage, reply))
    system = reply.code in (421, 452) or (reply.enhanced or "").startswith("4.3.")
    if system or not recipients_own:
        return Verdict("back", reply.status)
    return Verdict("deferred", reply.status)


def wants_less(reply: Reply) -> bool:
    """Tell whether an answer asks us to slow down, rather than to spare one mailbox."""
    return reply.code in _WANTING_LESS and not (reply.enhanced or "").startswith(_MAILBOX)


def judge_refusal(refusal: Rejected) -> Verdict:
    """Judge an answer that came as an exception."""
    return judge(refusal.stage, refusal.reply)


def _complaint(stage: Stage, reply: Reply) -> str:
    """Say why a release waits. The relay's words stay out: they may hold an address."""
    where = {
        "connect": "does not want to talk to us",
        "auth": "does not accept our user name and password",
        "mail": "does not accept our sender or a message of this size",
    }.get(stage, "refuses everything")
    return f"The mail relay {where} ({reply.status}). Mend that, then resume the release."


@dataclass(slots=True)
class Run:
    """Equal refusals of one release without a break: a sign that we are the fault."""

    reason: str = ""
    refused: deque[int] = field(default_factory=deque)
    domains: set[str] = field(default_factory=set)

    def add(self, subscription_id: int, address: str, verdict: Verdict) -> bool:
        """Count one verdict; True once so many were refused alike that nobody is to blame."""
        if verdict.kind == "skipped":
            return False
        if verdict.kind != "refused" or verdict.reason != self.reason:
            self.clear()
        if verdict.kind != "refused":
            return False
        self.reason = verdict.reason
        self.refused.append(subscription_id)
        self.domains.add(domain(address))
        return len(self.refused) >= _RUN and len(self.domains) >= _RUN_DOMAINS

    def clear(self) -> None:
        """Begin anew."""
        self.reason = ""
        self.refused.clear()
        self.domains.clear()

    @property
    def sentence(self) -> str:
        """Say why the release waits."""
        return (
            f"The mail relay refused {len(self.refused)} recipients in a row alike "
            f"({self.reason}). Nobody was blamed. Mend that, then resume the release."
        )
