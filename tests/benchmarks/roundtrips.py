"""Round trips: how many a message needs, when the relay is not next door."""

from __future__ import annotations

from tests.benchmarks.bench_service import CONNECTIONS, bench_service, program, sample
from tests.benchmarks.parts import Figures, Part, Sizes, table
from tests.benchmarks.source import source
from tests.servers import sink

_ROOM = "far"
_ONE_WAY_SECONDS = 0.010
_ROUND_TRIP_SECONDS = 2 * _ONE_WAY_SECONDS
_SINKS = {"with PIPELINING": (), "without": ("-p",)}


def measure(sizes: Sizes) -> Figures:
    """Send through a delay, to a sink that offers PIPELINING and to one that does not."""
    number = sizes.recipients // 10
    size = len(sample())
    return {
        "recipients": number,
        "sinks": {name: _measure_one(options, number, size) for name, options in _SINKS.items()},
    }


def _measure_one(options: tuple[str, ...], number: int, size: int) -> Figures:
    with sink(*options) as box, program("far", box.port, _ONE_WAY_SECONDS) as port:
        with bench_service("sqlite", f"smtp://127.0.0.1:{port}") as running:
            running.open(_ROOM, number)
            ours = running.send(_ROOM)
        return {"ours": ours, "source": source(box, number, size, port)}


def describe(figures: Figures) -> str:
    """Write down rates for each connection, and round trips for each message."""
    rows = [
        [
            f"{name}, {words}",
            f"{found[program]['rate']:,.0f}",
            f"{found[program]['rate'] / CONNECTIONS:.1f}",
            f"{CONNECTIONS / found[program]['rate'] / _ROUND_TRIP_SECONDS:.2f}",
        ]
        for name, found in figures["sinks"].items()
        for program, words in (("ours", "ours"), ("source", "smtp-source"))
    ]
    return "\n\n".join(
        [
            f"{figures['recipients']:,} recipients over {CONNECTIONS} connections and a round trip "
            f"of {_ROUND_TRIP_SECONDS * 1000:.0f} ms (tests/benchmarks/far.py delays each way by "
            "half of it), on SQLite, from the publish call to `done`; smtp-source never pipelines.",
            table(
                [
                    *("", "mails a second", "a second and connection"),
                    "round trips a mail, all told",
                ],
                rows,
            ),
        ]
    )


PART = Part("roundtrips", "Over a long way", measure, describe)
