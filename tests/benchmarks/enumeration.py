"""Enumeration: whether the time of an answer tells who is known, and what has become of them."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import select, update

from mailer.domain.followers.erasure import erase_subscribers
from mailer.storage.database import transaction
from mailer.storage.models import Publisher, Subscriber, Subscription
from mailer.storage.types import now
from tests.benchmarks.bench_service import BenchService, follower, web_alone
from tests.benchmarks.load import post
from tests.benchmarks.parts import DATABASES, Figures, Part, Sizes, spread, table
from tests.benchmarks.signups import UNLIMITED
from tests.service import application

_WARM = 50
_SHUFFLES = 500


def _follow(_running: BenchService, _slug: str) -> None:
    """Leave the followers as they are."""


def _pause(running: BenchService, slug: str) -> None:
    with application(running.service.environment), transaction() as session:
        theirs = Subscription.publisher_id.in_(select(Publisher.id).where(Publisher.slug == slug))
        session.execute(update(Subscription).where(theirs).values(paused_until=now()))


def _suppress(running: BenchService, slug: str) -> None:
    with application(running.service.environment), transaction() as session:
        theirs = Subscriber.address.like(f"%{slug}%")
        session.execute(update(Subscriber).where(theirs).values(suppressed_at=now()))


def _erase(running: BenchService, slug: str) -> None:
    with application(running.service.environment) as app, transaction() as session:
        theirs = select(Subscriber.id).where(Subscriber.address.like(f"%{slug}%"))
        erase_subscribers(session, app.extensions["settings"], session.scalars(theirs).all())


_STATES: Mapping[str, Callable[[BenchService, str], None]] = {
    "known": _follow,
    "paused": _pause,
    "suppressed": _suppress,
    "erased": _erase,
}


def measure(sizes: Sizes) -> Figures:
    """Sign up people of each state and strangers, in turns, one at a time."""
    return {
        "requests": sizes.questions,
        "databases": {kind: _measure_on(kind, sizes) for kind in sizes.databases},
    }


def _measure_on(kind: str, sizes: Sizes) -> Figures:
    # Nobody sends letters meanwhile: who is asked is asked a quiet machine.
    found: Figures = {state: [] for state in _STATES}
    with web_alone(kind, "smtp://127.0.0.1:9", **UNLIMITED) as running:
        for run in range(sizes.pairs):
            for state, come_about in _STATES.items():
                slug = f"{state}-{run}"
                running.open(slug, sizes.questions)
                come_about(running, slug)
                found[state].append(_ask(running, slug, sizes.questions))
    return found


def _ask(running: BenchService, slug: str, number: int) -> Figures:
    everybody = [
        address
        for one in range(number)
        for address in (follower(slug, one), follower(f"other-{slug}", one))
    ]
    warm = [follower(f"warm-{slug}", one) for one in range(_WARM)]
    post(running.port, f"/{slug}/follow", warm, 1)
    seconds = post(running.port, f"/{slug}/follow", everybody, 1)
    known, unknown = seconds[0::2], seconds[1::2]
    area, chance = told_apart(known, unknown)
    return {"known": known, "unknown": unknown, "area": area, "chance": chance}


def told_apart(some: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Return the area under the curve of the best threshold's choices, at least 0.5, and its p.

    It is how often a value of one kind is greater than one of the other; p is how often chance
    alone, which deals out the values anew, tells them apart as well.
    """
    order = sorted(range(len(some) + len(others)), key=[*some, *others].__getitem__)
    ranks = [0] * len(order)
    for rank, place in enumerate(order):
        ranks[place] = rank

    def area(of: Sequence[int]) -> float:
        least = len(some) * (len(some) - 1) / 2
        share = (sum(of) - least) / (len(some) * len(others))
        return max(share, 1 - share)

    found, chance = area(ranks[: len(some)]), random.Random(1)
    better = sum(area(chance.sample(ranks, len(some))) >= found for _ in range(_SHUFFLES))
    return found, (better + 1) / (_SHUFFLES + 1)


def describe(figures: Figures) -> str:
    """Write down the medians, and how well the two are told apart."""
    rows = []
    for kind, found in figures["databases"].items():
        for state, runs in found.items():
            known, unknown = (
                statistics.median(statistics.median(run[name]) for run in runs) * 1000
                for name in ("known", "unknown")
            )
            rows.append(
                [
                    f"{DATABASES[kind]}, {state}",
                    f"{known:.2f}",
                    f"{unknown:.2f}",
                    spread([run["area"] for run in runs], 3),
                    f"{min(run['chance'] for run in runs):.3f}",
                ]
            )
    return "\n\n".join(
        [
            f"{figures['requests']:,} sign-ups of people in each state and as many of unknown "
            "addresses, in turns, one at a time and from this machine: milliseconds from the form "
            "to the whole answer, and how often the slower of two is of the same kind (0.5 tells "
            "nothing; below 0.53, somebody who asks once learns nothing).",
            table(
                [
                    *("", "median", "median, unknown", "told apart"),
                    "least p of a run",
                ],
                rows,
            ),
        ]
    )


PART = Part("enumeration", "Whether time tells known addresses from unknown", measure, describe)
