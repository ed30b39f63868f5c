"""Plays the worlds of many seeds, counts what happened in them, and writes docs/worlds.md.

python -m tests.worlds 0 5000            # the seeds from 0 to 4,999
python -m tests.worlds --shrink 4711     # the shortest plan that breaks what this seed breaks
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import combinations

from tests.service import ROOT
from tests.support.circumstances import circumstances
from tests.worlds.plan import KINDS, Plan, drawn
from tests.worlds.play import Ending, migrated, play_many, play_quietly
from tests.worlds.shrink import shrunk

PAGE = ROOT / "docs" / "worlds.md"
_PAGE = """\
# Random worlds

Written by `make worlds`; do not edit. Each world is drawn from a seed: followers, press rooms,
workers, a relay, and what happens to all of them. It is played on a virtual clock, and judged by
what the relay saw and by what a press room is told. `tests/worlds/judgement.py` says how.

**{worlds:,} worlds of the seeds {first} to {last}, {broken} that break a promise.**
{minutes:.1f} minutes; {date}, commit `{commit}`, {machine}.

Each kind of event had an effect in {least_kind:,} worlds or more, each two kinds in one world in
{least_pair:,} or more.

| bound | worst value | seed |
|---|--:|--:|
{bounds}

Recipients whom the relay would take in the end, and who have not got a release, are in the brackets
of the bounds:

| bracket | recipients |
|---|--:|
{brackets}

| event | worlds |
|---|--:|
{kinds}
"""


@dataclass
class Report:
    """What many worlds have shown."""

    first: int
    last: int
    worlds: int = 0
    broken: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    kinds: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: dict[str, tuple[float, int]] = field(default_factory=dict)
    brackets: Counter[str] = field(default_factory=Counter)

    def add(self, ending: Ending) -> None:
        """Count one world."""
        self.worlds += 1
        for promise in ending.broken:
            self.broken[promise].append(ending.seed)
            print(f"{ending.seed}: {promise}", flush=True)
        self.kinds.update(ending.seen)
        self.pairs.update(combinations(sorted(ending.seen), 2))
        self.brackets.update(ending.brackets)
        for bound, value in ending.worst.items():
            self.worst[bound] = max((value, ending.seed), self.worst.get(bound, (value, 0)))

    def page(self, seconds: float) -> str:
        """Write it as a page."""
        pairs = combinations(sorted(KINDS), 2)
        return _PAGE.format(
            **circumstances(),
            worlds=self.worlds,
            first=self.first,
            last=self.last - 1,
            broken=len({seed for seeds in self.broken.values() for seed in seeds}),
            minutes=seconds / 60,
            least_kind=min(self.kinds[kind] for kind in KINDS),
            least_pair=min(self.pairs[pair] for pair in pairs),
            bounds=_rows((one, f"{value:.3g}", seed) for one, (value, seed) in self.worst.items()),
            brackets=_rows(self.brackets.items()),
            kinds=_rows((kind.replace("_", " "), self.kinds[kind]) for kind in KINDS),
        )


def _rows(rows: object) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in sorted(rows))  # type: ignore[call-overload]


def main() -> None:
    """Play the worlds, or make one shorter."""
    if sys.argv[1] == "--shrink":
        print(_shrunk(drawn(int(sys.argv[2]))))
        return
    report, began = Report(int(sys.argv[1]), int(sys.argv[2])), time.monotonic()
    for ending in play_many(range(report.first, report.last)):
        report.add(ending)
    page = report.page(time.monotonic() - began)
    print(page)
    PAGE.write_text(page)
    sys.exit(bool(report.broken))


def _shrunk(plan: Plan) -> Plan:
    """Return the shortest plan that breaks one of the promises that this one breaks."""
    with migrated() as template:
        promises = {_kind(one) for one in play_quietly(plan, template).broken}
        return shrunk(
            plan,
            lambda smaller: any(
                _kind(one) in promises for one in play_quietly(smaller, template).broken
            ),
        )


def _kind(promise: str) -> str:
    """Leave out the numbers."""
    return "".join(one for one in promise if not one.isdigit())


if __name__ == "__main__":
    main()
