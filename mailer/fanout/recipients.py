"""Recipients: who stands behind the ids of a batch, looked up shortly before they are sent to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from mailer.fanout.batches import Claim
from mailer.fanout.database_thread import Ledger
from mailer.fanout.delivery import Workshop
from mailer.fanout.outcomes import Finding
from mailer.fanout.release_letters import Composition
from mailer.fanout.replies import Verdict
from mailer.mail.message import UnsafeValue
from mailer.mail.smtp import Mail
from mailer.storage.database import MOMENT, bigint_array, driver

# JOINED: """Stretches: the next members of a batch as they are now, and the messages composed for them."""

_GATHER_SECONDS = 0.001
_AT_MOST = 1_000
"""About as many as are looked up while the event loop may stand still."""
_AMONG = {
    "postgresql": "= ANY(%s::bigint[])",
    "sqlite": "IN (SELECT value FROM json_each(?))",
}
AS_THEY_ARE = {
    name: f"""
        SELECT subscriptions.id, address, locale, CASE
            WHEN address IS NULL THEN 'gone'
            WHEN ended_at IS NOT NULL THEN 'left'
            WHEN suppressed_at IS NOT NULL THEN 'suppressed'
            WHEN paused_until > {MOMENT[name]} THEN 'paused'
        END
        FROM subscriptions LEFT JOIN subscribers ON subscribers.id = subscriber_id
        WHERE subscriptions.id {among}
        """  # noqa: S608 - made of constants
    for name, among in _AMONG.items()
}


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who a subscription id stands for at this moment, and whether to send at all."""

    address: str
    locale: str
    skip: str | None
    """The reason to leave them out: left, gone, suppressed or paused."""


_MISSING = Recipient(address="", locale="", skip="gone")


class Directory:
    """Looks recipients up for all connections together: a question costs much, a name little."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._asked: list[int] = []
        self._answer: asyncio.Task[Mapping[int, Recipient]]

    async def look_up(self, ids: Sequence[int]) -> list[Recipient]:
        """Return who stands behind the ids at this moment, in their order."""
        if not self._asked:
            self._answer = asyncio.create_task(self._ask(self._asked))
        self._asked += ids
        answer = self._answer
        if len(self._asked) >= _AT_MOST:
            self._asked = []
        found = await asyncio.shield(answer)
        return [found.get(one, _MISSING) for one in ids]

    async def _ask(self, ids: list[int]) -> Mapping[int, Recipient]:
        await asyncio.sleep(_GATHER_SECONDS)
        if ids is self._asked:
            self._asked = []
        return await self._ledger.state(partial(look_up, ids=ids))


def look_up(connection: Connection, ids: Sequence[int]) -> dict[int, Recipient]:
    """Read the subscriptions as they are now, by their ids; one that is missing is gone."""
    among = bigint_array(ids) if connection.dialect.name == "postgresql" else json.dumps(ids)
    rows = driver(connection).execute(AS_THEY_ARE[connection.dialect.name], (among,)).fetchall()
    return {one: Recipient(address or "", locale, skip) for one, address, locale, skip in rows}


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
