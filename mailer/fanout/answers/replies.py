"""SMTP replies: what each means for its recipient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mailer.mail.smtp_protocol import Reply, Stage

Kind = Literal["accepted", "deferred", "doubted", "refused", "skipped", "unanswered"]

SERVICE_NOT_AVAILABLE = 421
_MAILBOX = (".1.", ".2.")
"""RFC 3463: about the address, and about the mailbox."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reply means for one recipient, and its code or a word as the reason."""

    kind: Kind
    reason: str = ""


ACCEPTED = Verdict("accepted")
CONNECTION_LOST = Verdict("deferred", "4.4.2")
UNANSWERED = Verdict("unanswered", "4.4.2")
UNSENDABLE = Verdict("refused", "unsendable")
NOT_ASCII = Verdict("refused", "5.6.7")


def classify(reply: Reply) -> Verdict:
    """Classify a reply to RCPT, DATA or the dot by its code (RFC 5321 section 4.2.1).

    A permanent refusal is doubted, since it may have been our mistake, or the relay's.
    """
    if reply.completed:
        return ACCEPTED
    # A 3yz where none belongs accepts nothing: server and client are out of step.
    return Verdict("doubted" if reply.permanent else "deferred", reply.status)


def asks_to_slow_down(stage: Stage, reply: Reply) -> bool:
    """Tell whether a reply may mean that we send too much, rather than being about one mailbox."""
    about_mailbox = (reply.enhanced or "")[1:].startswith(_MAILBOX)
    temporary = not (reply.positive or reply.permanent)
    if stage in ("connect", "auth"):
        return reply.code == SERVICE_NOT_AVAILABLE
    return temporary and not about_mailbox
