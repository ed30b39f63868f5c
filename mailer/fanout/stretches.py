"""Stretches: the next members of a batch as they are now, and the messages composed for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailer.fanout.batches import Claim
from mailer.fanout.compositions import Composition
from mailer.fanout.outcomes import Finding
from mailer.fanout.recipients import Recipient
from mailer.fanout.verdicts import Verdict
from mailer.fanout.workshop import Workshop
from mailer.mail.message import UnsafeValue
from mailer.mail.smtp import Mail

LENGTH = 50
"""So many members are looked up at once: people leave while mail goes out."""
_UNSENDABLE = Verdict("refused", "unsendable")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Members of a batch from a position on, looked up and ready to be written to."""

    positions: range
    members: Sequence[int]
    recipients: Sequence[Recipient]
    compositions: Mapping[str, Composition]
    """By locale."""

    def mail(self, position: int) -> Mail | Finding:
        """Compose the message for the member at a position, or tell why there is none."""
        index = position - self.positions.start
        member, recipient = self.members[index], self.recipients[index]
        if recipient.skip is not None:
            return Finding(member, recipient.address, Verdict("skipped", recipient.skip))
        composition = self.compositions[recipient.locale]
        try:
            return composition.mail(member, recipient.address)
        except UnsafeValue:
            return Finding(member, recipient.address, _UNSENDABLE)


NOWHERE = Stretch(range(0), (), (), {})


async def look_along(shop: Workshop, claim: Claim, position: int) -> Stretch:
    """Look up the next members, and compose the release in every language they read."""
    members = claim.members[position : position + LENGTH]
    recipients = await shop.directory.look_up(members)
    locales = {one.locale for one in recipients if one.skip is None}
    return Stretch(
        positions=range(position, position + len(members)),
        members=members,
        recipients=recipients,
        compositions={
            locale: await shop.compositor.compose(
                shop.ledger, claim.release_id, claim.letter, locale
            )
            for locale in sorted(locales)
        },
    )
