"""Scale: whether time and memory grow with the number of followers, and no faster."""

from __future__ import annotations

import time

from tests.benchmarks.bench_service import MANY, MANY_CONNECTIONS, BenchService, bench_service
from tests.benchmarks.parts import DATABASES, Figures, Part, Sizes, table
from tests.benchmarks.processor import Memory
from tests.processes import eventually
from tests.servers import sink

_ROOM = "scale"
_MEBI = 1 << 20
_HEADS = (
    *("recipients", "mails a second", "µs a recipient", "worker's memory", "its child's"),
    *("freeze, seconds", "octets frozen a recipient", "and when done"),
    *("import, seconds", "import's memory"),
)


def measure(sizes: Sizes) -> Figures:
    """Import and send to ever more followers, on each database afresh."""
    return {
        "databases": {
            kind: [_measure_one(kind, number) for number in sizes.scales]
            for kind in sizes.databases
        }
    }


def _measure_one(kind: str, number: int) -> Figures:
    with sink() as box, bench_service(kind, box.url, **MANY) as running:
        imported = running.open(_ROOM, number)
        memory = Memory({"worker": running.service.pid("releases")})
        with memory.watched() as peaks:
            sent = _send(running, number)
    return {
        "number": number,
        "import_seconds": imported.seconds,
        "import_peak_octets": imported.peak_octets,
        "worker_peak_octets": peaks["worker"],
        "child_peak_octets": peaks["worker's child"],
        **sent,
    }


def _send(running: BenchService, number: int) -> Figures:
    """Publish, and see how long the freeze takes, how large it is, and when all is done."""
    empty = running.database.octets()
    began = time.monotonic()
    path = running.publish(_ROOM)
    eventually(lambda: running.ask(_ROOM, path)["total"] == number, "it is frozen", patience=600)
    frozen_after = time.monotonic() - began
    frozen = running.database.octets() - empty
    running.until_done(_ROOM, path)
    return {
        "freeze_seconds": frozen_after,
        "seconds": time.monotonic() - began,
        "frozen_octets": frozen / number,
        "done_octets": (running.database.octets() - empty) / number,
    }


def describe(figures: Figures) -> str:
    """Write down one row for each number of followers."""
    parts = [
        "From 10,000 to 1,000,000 followers, each number on a fresh database, into smtp-sink over "
        f"{MANY_CONNECTIONS} connections. "
        "Memory is the largest resident size (VmHWM) of the releases worker, and of the child it "
        "forks to send; the freeze is the time from the publish call until the audience is fixed, "
        "and the octets frozen are those of the batches and their members, with indexes. The "
        "import is `mailer subscriber import`."
    ]
    for kind, runs in figures["databases"].items():
        parts.append(f"{DATABASES[kind]}:")
        parts.append(table(_HEADS, map(_row, runs)))
    return "\n\n".join(parts)


def _row(run: Figures) -> list[str]:
    number = run["number"]
    return [
        f"{number:,}",
        f"{number / run['seconds']:,.0f}",
        f"{run['seconds'] / number * 1e6:,.0f}",
        f"{run['worker_peak_octets'] / _MEBI:,.0f} MiB",
        f"{run['child_peak_octets'] / _MEBI:,.0f} MiB",
        f"{run['freeze_seconds']:.2f}",
        f"{run['frozen_octets']:.1f}",
        f"{run['done_octets']:.1f}",
        f"{run['import_seconds']:.1f}",
        f"{run['import_peak_octets'] / _MEBI:,.0f} MiB",
    ]


PART = Part("scale", "From ten thousand to a million followers", measure, describe)
