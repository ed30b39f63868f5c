"""The leases of one process, which are renewed until the work is finished or handed back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from functools import partial
from typing import Protocol

from mailer.fanout.database_thread import DatabaseThread
from mailer.storage import leases
from mailer.storage.leases import Key, Leased

_RENEWALS_A_LEASE = 4


class Claimed(Protocol):
    """A row that this process has taken."""

    @property
    def key(self) -> Key:
        """The id of the row, and its epoch."""

    @property
    def release_id(self) -> int | None:
        """The release that it is about, if it is about one."""


class Leases:
    """Which rows of a table this process has taken, and when each lease was last renewed."""

    def __init__(self, database: DatabaseThread, table: Leased, seconds: int) -> None:
        self.seconds = seconds
        self._database = database
        self._table = table
        self._asked: dict[Claimed, float] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._asked)

    def releases(self, *, without: Collection[Claimed]) -> set[int | None]:
        """Return the releases that the rows are about, not counting some rows."""
        return {claimed.release_id for claimed in self._asked if claimed not in without}

    def note(self, claimed: Claimed, asked: float) -> None:
        """Note a lease that was taken or renewed; `asked` is the monotonic time before that."""
        self._asked[claimed] = asked

    def end(self, claimed: Claimed) -> None:
        """Forget a lease that was handed back or is lost."""
        self._asked.pop(claimed, None)

    def is_ours(self, claimed: Claimed) -> bool:
        """Tell whether a lease is still ours, as far as this process knows."""
        return claimed in self._asked

    def asked(self, claimed: Claimed) -> float:
        """Return the monotonic time before a lease was taken or last renewed."""
        return self._asked.get(claimed, 0.0)

    def is_safe(self, claimed: Claimed) -> bool:
        """Tell whether more than half of a lease is left, so that a dot may leave."""
        asked = self._asked.get(claimed)
        return asked is not None and time.monotonic() - asked < self.seconds / 2

    async def keep(self) -> None:
        """Renew every lease of this process until cancelled, also while the relay is slow."""
        while True:
            await asyncio.sleep(self.seconds / _RENEWALS_A_LEASE)
            claims = {claimed.key: claimed for claimed in self._asked}
            asked = time.monotonic()
            alive = await self._database.run_in_transaction(
                partial(
                    leases.renew,
                    table=self._table,
                    keys=list(claims),
                    lease_seconds=self.seconds,
                )
            )
            for key, claimed in claims.items():
                # A lease that was handed back during the renewal is not added again.
                if key in alive and claimed in self._asked:
                    self._asked[claimed] = asked
                elif key not in alive:
                    self.end(claimed)
