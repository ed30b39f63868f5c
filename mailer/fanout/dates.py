"""The Date of a release's letters: the freeze's at first, later the claim's, and kept by a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, bindparam, case, func, select
from sqlalchemy.orm import Session

from mailer.storage.models import Batch, Uncertain
from mailer.storage.sql import database_now

_HOUR = 3_600_000
_TEN_MINUTES = 600_000
_FROZEN = bindparam("frozen", type_=BigInteger)

CLAIMED_DATE = case(
    (Batch.dated_at >= database_now() - 2 * _HOUR, Batch.dated_at),
    (database_now() - _HOUR <= _FROZEN, _FROZEN),
    else_=database_now() // _TEN_MINUTES * _TEN_MINUTES,
)
"""SQL for the Date of a batch that is claimed, in milliseconds since 1970.

`frozen` is the moment of the freeze. A batch that is claimed again soon keeps its Date; so that few
letters have to be made, a late one gets that of its ten minutes.
"""


def dates_of_copies(
    session: Session, release_id: int, members: Sequence[int], frozen: int
) -> Mapping[int, int]:
    """Return the Date of each member's message who may have it already, by subscription id.

    Until 0015 every message had the Date of the freeze.
    """
    found = session.execute(
        select(Uncertain.subscription_id, func.coalesce(Uncertain.dated_at, frozen)).where(
            Uncertain.release_id == release_id, Uncertain.subscription_id.in_(members)
        )
    )
    return dict(iter(found))
