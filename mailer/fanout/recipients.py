"""Recipients: who stands behind the ids of a batch, looked up shortly before they are sent to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, any_, case, func, select

from mailer.storage.database import as_json, given
from mailer.storage.models import Subscriber, Subscription


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who a subscription id stands for at this moment, and whether to send at all."""

    address: str
    locale: str
    skip: str | None
    """The reason to leave them out: left, gone or suppressed."""


_MISSING = Recipient(address="", locale="", skip="gone")


def look_up(connection: Connection, ids: Sequence[int]) -> dict[int, Recipient]:
    """Read the subscriptions as they are now; an id that is missing is gone."""
    statement = _as_they_are(connection.dialect.name)
    rows = connection.scalar(statement, {"given": json.dumps([{"id": one} for one in ids])})
    found = {one: Recipient(address or "", *rest) for one, address, *rest in rows or ()}
    return {one: found.get(one, _MISSING) for one in ids}


@lru_cache(maxsize=2)
def _as_they_are(dialect_name: str) -> Select[Any]:
    ids = select(given(dialect_name, "id").c.id)
    # Of a join with what it cannot foresee, PostgreSQL would read all followers each time.
    among = (
        Subscription.id == any_(func.array(ids.scalar_subquery()))
        if dialect_name == "postgresql"
        else Subscription.id.in_(ids)
    )
    skip = case(
        (Subscriber.address.is_(None), "gone"),
        (Subscription.ended_at.is_not(None), "left"),
        (Subscriber.suppressed_at.is_not(None), "suppressed"),
    )
    return (
        select(
            as_json(dialect_name, Subscription.id, Subscriber.address, Subscription.locale, skip)
        )
        .outerjoin(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(among)
    )
