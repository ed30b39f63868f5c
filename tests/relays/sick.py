"""A fifth of the recipients sick: every answer at every stage, and every pair of other values once.

`tests/relays/test_table.py` tells if a pair is missing.
"""

from __future__ import annotations

from tests.relays.row import Database, Row
from tests.relays.stories import misbehave_throughout
from tests.support.misbehaviour import Rule, Stage

_ANSWERS = (
    "451 4.3.0 Later",
    "452 4.2.2 Full",
    "550 5.1.1 No such user",
    "554 5.7.1 Not for you",
    "421 4.7.0 Closing",
    "",
)
_STAGES: tuple[Stage, ...] = ("rcpt", "data", "dot")
_DATABASES: tuple[Database, ...] = ("sqlite", "postgresql")
_FOLLOWERS = (12, 300, 30_000)
_DOMAINS = (1, 7)
_SHARE, _SHARE_UNANSWERED = 0.2, 0.02
FIRST = 10
# Answer, stage, followers, database, workers - 1, domains: each the place of its value.
VALUES = (
    (0, 0, 0, 1, 1, 1),
    (0, 1, 1, 0, 1, 0),
    (0, 2, 2, 1, 0, 1),
    (1, 0, 1, 1, 1, 1),
    (1, 1, 2, 0, 0, 0),
    (1, 2, 0, 0, 0, 1),
    (2, 0, 2, 0, 0, 0),
    (2, 1, 0, 1, 0, 0),
    (2, 2, 1, 0, 1, 1),
    (3, 0, 0, 1, 1, 1),
    (3, 1, 1, 0, 0, 0),
    (3, 2, 2, 0, 1, 0),
    (4, 0, 1, 1, 1, 1),
    (4, 1, 2, 1, 1, 0),
    (4, 2, 0, 0, 0, 0),
    (5, 0, 2, 1, 1, 0),
    (5, 1, 0, 0, 1, 1),
    (5, 2, 1, 1, 0, 1),
)
_SHORT = {(0, 1), (5, 2)}


def _row(number: int, values: tuple[int, ...]) -> Row:
    answer, stage, followers, database, workers, domains = values
    reply, where = _ANSWERS[answer], _STAGES[stage]
    # A filter that answers no dot of many recipients pauses the release, which is another row.
    unanswered = not reply and where == "dot"
    share = _SHARE_UNANSWERED if unanswered else _SHARE
    place = "the dot, its content read" if unanswered else {"dot": "the dot"}.get(where, where)
    return Row(
        number,
        "",
        f"{share:.0%} of recipients: {f'`{reply}`' if reply else 'closed'} at {place}",
        misbehave_throughout,
        (Rule(where, reply, share),),
        followers=_FOLLOWERS[followers],
        domains=_DOMAINS[domains],
        workers=workers + 1,
        database=_DATABASES[database],
        short=(answer, stage) in _SHORT,
    )


SICK = tuple(_row(number, values) for number, values in enumerate(VALUES, start=FIRST))
