"""Latency: from the publish call to the first mail accepted, idle and beside a large release."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.bench_service import CONNECTIONS, BenchService, bench_service, program
from tests.benchmarks.parts import DATABASES, Figures, Part, Sizes, table
from tests.processes import eventually
from tests.servers import temporary_folder

_BULK = "bulk"
_FOLLOWERS = 10
_BULK_TIMES = 20
_LONGEST_PAUSE_SECONDS = 0.5


class Stamps:
    """When a room's first mail was accepted, and how many were, as the stamping sink noted it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_to = 0
        self.first: dict[str, float] = {}
        self.count: Counter[str] = Counter()

    def look(self) -> None:
        """Read what has been added."""
        with self._file.open("rb") as file:
            file.seek(self._read_to)
            added = file.read()
        complete = added[: added.rfind(b"\n") + 1]
        self._read_to += len(complete)
        for line in complete.decode().splitlines():
            moment, _, address = line.partition(" ")
            room = address.partition("@")[0].rpartition("-")[0]
            self.first.setdefault(room, float(moment))
            self.count[room] += 1

    def wait_for(self, room: str, number: int) -> None:
        """Wait until so many of a room have been accepted."""

        def arrived() -> bool:
            self.look()
            return self.count[room] >= number

        eventually(arrived, f"{number} mails of {room}", patience=600)


def measure(sizes: Sizes) -> Figures:
    """Publish small releases one after another, first alone, then beside a large one."""
    return {
        "recipients": sizes.recipients * _BULK_TIMES,
        "releases": sizes.small_releases,
        "databases": {kind: _measure_on(kind, sizes) for kind in sizes.databases},
    }


def _measure_on(kind: str, sizes: Sizes) -> Figures:
    rooms = [f"room{one}" for one in range(sizes.small_releases)]
    with _stamping(kind, 0) as (running, stamps):
        running.open_many(rooms, _FOLLOWERS)
        running.open(_BULK, sizes.recipients // 2)
        idle = [_latency(running, stamps, room) for room in rooms]
        possible = running.send(_BULK)["rate"]
        stamps.look()
        arrived = stamps.count.total()
    # All connections together then reach half of what was possible.
    with _stamping(kind, CONNECTIONS / (possible / 2)) as (running, stamps):
        running.open_many(rooms, _FOLLOWERS)
        busy, rate = _beside_a_large_one(running, stamps, rooms, sizes.recipients * _BULK_TIMES)
    return {
        "possible_rate": possible,
        "bulk_rate": rate,
        "idle": idle,
        "busy": busy,
        "arrived_before": arrived,
    }


@contextmanager
def _stamping(kind: str, rest: float) -> Iterator[tuple[BenchService, Stamps]]:
    """Run the service with a sink that notes every message, and lets it rest so many seconds."""
    with (
        temporary_folder() as folder,
        program("stamping", folder / "stamps", rest) as port,
        bench_service(kind, f"smtp://127.0.0.1:{port}") as running,
    ):
        yield running, Stamps(folder / "stamps")


def _beside_a_large_one(
    running: BenchService, stamps: Stamps, rooms: list[str], number: int
) -> tuple[list[float], float]:
    """Measure while a large release goes out, and another when it is done; gives its rate too."""
    running.open(_BULK, number)
    published = 1
    running.publish(_BULK)
    stamps.wait_for(_BULK, 1)
    began = time.monotonic()
    latencies = []
    for room in rooms:
        if stamps.count[_BULK] >= number * published:
            running.publish(_BULK)
            stamps.wait_for(_BULK, number * published + 1)
            published += 1
        latencies.append(_latency(running, stamps, room))
    rate = stamps.count[_BULK] / (time.monotonic() - began)
    return latencies, rate


def _latency(running: BenchService, stamps: Stamps, room: str) -> float:
    """Publish to a room, and tell the seconds until its first mail; wait until all have theirs."""
    # Not in step with anything in the service that comes round regularly.
    time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
    began = time.monotonic()
    running.publish(room)
    stamps.wait_for(room, _FOLLOWERS)
    return stamps.first[room] - began


def describe(figures: Figures) -> str:
    """Write down median and tail."""
    rows = [
        [
            f"{DATABASES[kind]}, {words}",
            f"{statistics.median(one[name]) * 1000:,.0f}",
            f"{tail(one[name]) * 1000:,.0f}",
            f"{max(one[name]) * 1000:,.0f}",
        ]
        for kind, one in figures["databases"].items()
        for name, words in (
            ("idle", "idle"),
            ("busy", f"beside a large one at {one['bulk_rate']:,.0f} mails a second"),
        )
    ]
    return "\n\n".join(
        [
            f"{figures['releases']} releases of {_FOLLOWERS} followers each, every one from a "
            "press room of its own, one after another: milliseconds from the publish call to the "
            "first mail accepted, by the clock of a sink that notes each. The large release has "
            f"{figures['recipients']:,} recipients and goes out at half the rate this sink allows.",
            table(["", "median", "99th percentile", "longest"], rows),
        ]
    )


def tail(values: list[float]) -> float:
    """Find the 99th percentile: all but one in a hundred are no longer."""
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


PART = Part("latency", "From the publish call to the first inbox", measure, describe)
