"""Enumeration: whether the time of an answer tells who is known."""

from __future__ import annotations

import statistics

from tests.benchmarks.bench_service import follower, web_alone
from tests.benchmarks.load import post
from tests.benchmarks.parts import DATABASES, Figures, Part, Sizes, table
from tests.benchmarks.signups import UNLIMITED

_ROOM = "known"
_WARM = 50


def measure(sizes: Sizes) -> Figures:
    """Sign up followers and strangers, in turns, one at a time."""
    return {
        "requests": sizes.questions,
        "databases": {kind: _measure_on(kind, sizes.questions) for kind in sizes.databases},
    }


def _measure_on(kind: str, number: int) -> Figures:
    # Nobody sends letters meanwhile: who is asked is asked a quiet machine.
    with web_alone(kind, "smtp://127.0.0.1:9", **UNLIMITED) as running:
        running.open(_ROOM, number)
        everybody = [
            address
            for one in range(number)
            for address in (follower(_ROOM, one), follower("other", one))
        ]
        path = f"/{_ROOM}/follow"
        post(running.port, path, (f"warm{one}@example.org" for one in range(_WARM)), 1)
        seconds = post(running.port, path, everybody, 1)
    return {"known": seconds[0::2], "unknown": seconds[1::2]}


def describe(figures: Figures) -> str:
    """Write down both medians and their difference, beside how much answers differ anyway."""
    rows = []
    for kind, found in figures["databases"].items():
        known, unknown = (statistics.median(found[name]) * 1000 for name in ("known", "unknown"))
        low, _, high = statistics.quantiles(found["known"], n=4)
        rows.append(
            [
                DATABASES[kind],
                f"{known:.2f}",
                f"{unknown:.2f}",
                f"{unknown - known:+.2f}",
                f"{(high - low) * 1000:.2f}",
            ]
        )
    return "\n\n".join(
        [
            f"{figures['requests']:,} sign-ups of followers and as many of unknown addresses, in "
            "turns, one at a time and from this machine: milliseconds from the form to the whole "
            "answer.",
            table(
                [
                    *("", "median, known", "median, unknown", "difference"),
                    "interquartile range, known",
                ],
                rows,
            ),
        ]
    )


PART = Part("enumeration", "Whether time tells known addresses from unknown", measure, describe)
