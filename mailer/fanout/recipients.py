"""Recipients: the subscriptions of a batch as they are now, and the messages composed for them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from mailer.fanout.acknowledgements import Acknowledged
from mailer.fanout.answers.replies import UNSENDABLE, Verdict
from mailer.fanout.batches import Claim
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.outcomes import Finding
from mailer.fanout.release_letters import LetterComposer, ReleaseLetter
from mailer.fanout.statements import CURRENT_RECIPIENTS, STATES, pg_array
from mailer.mail.message import UnsafeValue
from mailer.mail.smtp import Mail
from mailer.storage.database import driver

LOOKAHEAD = 50
"""How many members are looked up at once: followers leave while a release goes out."""
LOOKED_UP_SECONDS = 5
"""How long what was read of a recipient may be relied on."""
_GATHER_SECONDS, _OPENING_SECONDS = 0.001, 0.005
_AT_MOST = 1_000
"""About as many as are looked up in the 5 ms for which the event loop may be blocked."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """The subscriber behind a subscription id at this moment, and whether to send at all."""

    address: str
    locale: str
    nonce: int | None
    skip: str | None
    """The reason to skip this recipient: left, gone, suppressed or paused."""


_MISSING = Recipient(address="", locale="", nonce=None, skip="gone")


@dataclass(frozen=True, slots=True)
class Lookahead:
    """Members of a batch from a position on, looked up and ready to be written to."""

    positions: range
    members: Sequence[int]
    recipients: Sequence[Recipient]
    dates: Sequence[int]
    """The Date of the message to each, in milliseconds since 1970."""
    letters: Mapping[tuple[str, int], ReleaseLetter]
    """The composed letter by locale and Date."""
    asked: float
    """The monotonic time before the look-up."""

    def covers(self, position: int) -> bool:
        """Tell whether a member was looked up, and short enough ago to be written to."""
        return position in self.positions and time.monotonic() - self.asked <= LOOKED_UP_SECONDS

    def mail(self, position: int) -> Mail | Finding:
        """Return the message for the member at a position, or the reason why there is none."""
        index = position - self.positions.start
        member, recipient = self.members[index], self.recipients[index]
        if recipient.skip is not None:
            return Finding(member, recipient.address, Verdict("skipped", recipient.skip))
        try:
            letter = self.letters[recipient.locale, self.dates[index]]
            return letter.mail(member, recipient.nonce, recipient.address)
        except UnsafeValue:
            return Finding(member, recipient.address, UNSENDABLE)


EMPTY = Lookahead(range(0), (), (), (), {}, 0.0)


class RecipientLoader:
    """Looks recipients up for all connections of a process: one statement serves many of them."""

    def __init__(self, database: DatabaseThread, composer: LetterComposer) -> None:
        self._database = database
        self._composer = composer
        self._asked = _Question()
        self._answer: asyncio.Task[_Answer]
        self._states: dict[int, Acknowledged] = {}
        self._looks: dict[int, asyncio.Task[Acknowledged]] = {}

    async def load(self, claim: Claim, position: int) -> Lookahead:
        """Look up the next members of a batch, and compose the release in their locales."""
        asked = time.monotonic()
        members = claim.members[position : position + LOOKAHEAD]
        recipients = await self.look_up(members)
        dates = [claim.date_of(member) for member in members]
        wanted = {
            (one.locale, date)
            for one, date in zip(recipients, dates, strict=True)
            if one.skip is None
        }
        return Lookahead(
            positions=range(position, position + len(members)),
            members=members,
            recipients=recipients,
            dates=dates,
            letters={
                (locale, date): await self._composer.compose(self._database, claim, locale, date)
                for locale, date in sorted(wanted)
            },
            asked=asked,
        )

    async def look_again(self, claim: Claim, position: int) -> tuple[str, str | None]:
        """Read the state of a release, and the reason to skip a member, as they are now."""
        member = claim.members[position]
        answer = await self._ask([member], [claim.release_id])
        return answer.states[claim.release_id], answer.recipients.get(member, _MISSING).skip

    async def state_since(self, release_id: int, moment: float) -> Acknowledged:
        """Return the state of a release, read after a moment for all connections that wait."""
        found = self._states.get(release_id)
        while found is None or found.asked < moment:
            if release_id not in self._looks:
                self._looks[release_id] = asyncio.create_task(self._read_state(release_id))
            found = await asyncio.shield(self._looks[release_id])
        return found

    async def _read_state(self, release_id: int) -> Acknowledged:
        try:
            # Connections are opened together: those of the next moment wait for the same look.
            await asyncio.sleep(_OPENING_SECONDS)
            asked = time.monotonic()
            states = await self._database.run_statement(partial(read_states, ids=[release_id]))
            found = self._states[release_id] = Acknowledged(states[release_id], asked)
            return found
        finally:
            del self._looks[release_id]

    async def look_up(self, ids: Sequence[int]) -> list[Recipient]:
        """Return the recipients behind subscription ids at this moment, in their order."""
        answer = await self._ask(ids)
        return [answer.recipients.get(one, _MISSING) for one in ids]

    async def _ask(self, ids: Sequence[int], releases: Sequence[int] = ()) -> _Answer:
        """Ask together with other connections that ask in the same millisecond."""
        question = self._asked
        if not question.ids:
            self._answer = asyncio.create_task(self._read(question))
        question.ids += ids
        question.releases.update(releases)
        answer = self._answer
        if len(question.ids) >= _AT_MOST:
            self._asked = _Question()
        return await asyncio.shield(answer)

    async def _read(self, question: _Question) -> _Answer:
        await asyncio.sleep(_GATHER_SECONDS)
        if question is self._asked:
            self._asked = _Question()
        return await self._database.run_statement(partial(_answer, question=question))


@dataclass(slots=True)
class _Question:
    """What several connections want to know: recipients, and states of releases."""

    ids: list[int] = field(default_factory=list)
    releases: set[int] = field(default_factory=set)


class _Answer(NamedTuple):
    recipients: Mapping[int, Recipient]
    states: Mapping[int, str]


def _answer(connection: Connection, question: _Question) -> _Answer:
    states = read_states(connection, question.releases) if question.releases else {}
    return _Answer(look_up(connection, question.ids), states)


def read_states(connection: Connection, ids: Collection[int]) -> dict[int, str]:
    """Read the states of releases as they are now, by their ids."""
    statement = STATES[connection.dialect.name]
    return dict(driver(connection).execute(statement, _among(connection, ids)).fetchall())


def look_up(connection: Connection, ids: Sequence[int]) -> dict[int, Recipient]:
    """Read subscriptions as they are now, by their ids; a missing row is left out."""
    statement = CURRENT_RECIPIENTS[connection.dialect.name]
    rows = driver(connection).execute(statement, _among(connection, ids)).fetchall()
    return {one: Recipient(address or "", *more) for one, address, *more in rows}


def _among(connection: Connection, ids: Collection[int]) -> tuple[str]:
    """Return ids as the value of a statement that reads several rows."""
    return (pg_array(ids) if connection.dialect.name == "postgresql" else json.dumps([*ids]),)
