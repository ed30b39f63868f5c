"""SMTP replies: what each means for the recipient, the batch and the release."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from mailer.mail.addresses import domain
from mailer.mail.smtp_protocol import Reply, Stage

Kind = Literal["accepted", "deferred", "refused", "skipped", "give_back", "pause"]

_NO_SUCH_MAILBOX = frozenset({"5.1.1", "5.1.10"})
_SLOW_DOWN_CODES = (421, 450, 451, 452)
_MAILBOX = ("4.1.", "4.2.")
"""RFC 3463: about the address, and about the mailbox."""
_STREAK = 20
_STREAK_DOMAINS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reply means for one recipient, or, with `give_back` and `pause`, for the batch."""

    kind: Kind
    reason: str = ""
    sentence: str = ""

    @property
    def suppresses(self) -> bool:
        """Whether the mailbox does not exist, so that nothing is ever sent there again."""
        return self.kind == "refused" and self.reason in _NO_SUCH_MAILBOX


ACCEPTED = Verdict("accepted")
CONNECTION_LOST = Verdict("deferred", "4.4.2")
NO_CONNECTION = Verdict("give_back", "4.4.1")


def classify(stage: Stage, reply: Reply) -> Verdict:
    """Classify a reply by its stage and its codes (RFC 5321 section 4.2.1, RFC 3463)."""
    if reply.completed:
        return ACCEPTED
    if reply.positive:
        # A 3yz where none belongs accepts nothing: server and client are out of step.
        return Verdict("deferred", reply.status)
    about_recipient = stage in ("rcpt", "data", "dot")
    if reply.permanent:
        if about_recipient:
            return Verdict("refused", reply.status)
        return Verdict("pause", reply.status, _complaint(stage, reply))
    system = reply.code in (421, 452) or (reply.enhanced or "").startswith("4.3.")
    if system or not about_recipient:
        return Verdict("give_back", reply.status)
    return Verdict("deferred", reply.status)


def asks_to_slow_down(reply: Reply) -> bool:
    """Tell whether a reply asks for a lower rate, rather than being about one mailbox."""
    return reply.code in _SLOW_DOWN_CODES and not (reply.enhanced or "").startswith(_MAILBOX)


def _complaint(stage: Stage, reply: Reply) -> str:
    """Say why the release is paused. The relay's text is left out: it may hold an address."""
    where = {
        "connect": "does not want to talk to us",
        "auth": "does not accept our user name and password",
        "mail": "does not accept our sender or a message of this size",
    }.get(stage, "refuses everything")
    return f"The mail relay {where} ({reply.status}). Mend that, then resume the release."


@dataclass(slots=True)
class RefusalStreak:
    """Equal refusals of one release in a row, which hint at a mistake of ours."""

    reason: str = ""
    refused: deque[int] = field(default_factory=deque)
    domains: set[str] = field(default_factory=set)

    def add(self, subscription_id: int, address: str, verdict: Verdict) -> bool:
        """Count one verdict; True once the streak is long enough to pause the release."""
        if verdict.kind == "skipped":
            return False
        if verdict.kind != "refused" or verdict.reason != self.reason:
            self.clear()
        if verdict.kind != "refused":
            return False
        self.reason = verdict.reason
        self.refused.append(subscription_id)
        self.domains.add(domain(address))
        return len(self.refused) >= _STREAK and len(self.domains) >= _STREAK_DOMAINS

    def clear(self) -> None:
        """Start counting from zero."""
        self.reason = ""
        self.refused.clear()
        self.domains.clear()

    @property
    def sentence(self) -> str:
        """Say why the release is paused."""
        return (
            f"The mail relay refused {len(self.refused)} recipients in a row alike "
            f"({self.reason}). Nobody was blamed. Mend that, then resume the release."
        )
