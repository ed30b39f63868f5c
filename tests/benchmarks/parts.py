"""A part of the benchmark: what it asks, how it measures, and how its figures read as a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]

DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass(frozen=True)
class Sizes:
    """How much is measured; `QUICK` shows that everything works, and is no measurement."""

    recipients: int = 50_000
    pairs: int = 3
    scales: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    small_releases: int = 100
    sign_ups: int = 5_000
    questions: int = 2_000
    databases: tuple[str, ...] = tuple(DATABASES)


QUICK = Sizes(
    recipients=2_000, pairs=1, scales=(5_000,), small_releases=10, sign_ups=200, questions=50
)


@dataclass(frozen=True)
class Part:
    """One question, and how it is answered."""

    name: str
    title: str
    measure: Callable[[Sizes], Figures]
    describe: Callable[[Figures], str]


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table, its first column to the left and all others to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write the median and the range of several measurements."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def middle(runs: Iterable[Figures], name: str) -> float:
    """Take the median of one figure over several runs."""
    return float(statistics.median(run[name] for run in runs))
