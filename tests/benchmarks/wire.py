"""Against the wire: a release beside smtp-source, which sends as much and writes nothing down."""

from __future__ import annotations

from tests.benchmarks.bench_service import (
    CONNECTIONS,
    MANY,
    MANY_CONNECTIONS,
    bench_service,
    sample,
)
from tests.benchmarks.parts import DATABASES, Figures, Part, Sizes, middle, spread, table
from tests.benchmarks.source import source
from tests.servers import sink
from tests.service import NAMES

_ROOM = "wire"


def measure(sizes: Sizes) -> Figures:
    """Send a release and the same load by smtp-source, in turns, on each database."""
    size = len(sample())
    return {
        "recipients": sizes.recipients,
        "message_octets": size,
        "databases": {kind: _in_turns(kind, sizes, size, MANY) for kind in sizes.databases},
        "few_connections": {kind: _in_turns(kind, sizes, size, {}) for kind in sizes.databases},
    }


def _in_turns(kind: str, sizes: Sizes, size: int, variables: dict[str, str]) -> Figures:
    ours, theirs = [], []
    with (
        sink() as our_box,
        sink() as their_box,
        bench_service(kind, our_box.url, **variables) as running,
    ):
        running.open(_ROOM, sizes.recipients)
        for _ in range(sizes.pairs):
            theirs.append(source(their_box, sizes.recipients, size))
            ours.append(running.send(_ROOM, {"sink": our_box.process.pid}))
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "ours": ours,
        "source": theirs,
        "rate_ratios": [our["rate"] / their["rate"] for our, their in pairs],
        "processor_ratios": [our["ours"] / their["source"] for our, their in pairs],
    }


def describe(figures: Figures) -> str:
    """Write down rates, ratios, and who spends the processor's time."""
    found = {
        f"{DATABASES[kind]}, {connections} connections": one
        for connections, runs in (
            (MANY_CONNECTIONS, figures["databases"]),
            (CONNECTIONS, figures["few_connections"]),
        )
        for kind, one in runs.items()
    }
    programs = (*NAMES, "database", "redis", "sink")
    return "\n\n".join(
        [
            f"{figures['recipients']:,} recipients, messages of {figures['message_octets']:,} "
            "octets with personal links and headers, no DKIM, one worker, every acknowledgement "
            "durable before the next dot of its connection; into Postfix's smtp-sink, in turns "
            "with `smtp-source -d -s 16`, which sends messages of the same size and records "
            "nothing. "
            "Time from the publish call to `done`; medians, with the range of the turns.",
            table(
                ["", "mails a second", "smtp-source", "ratio", "processor time, ratio"],
                [
                    [
                        name,
                        f"{middle(one['ours'], 'rate'):,.0f}",
                        f"{middle(one['source'], 'rate'):,.0f}",
                        spread(one["rate_ratios"]),
                        spread(one["processor_ratios"]),
                    ]
                    for name, one in found.items()
                ],
            ),
            "Processor time in µs a mail. “All of ours” is the sum of the Procfile's processes; "
            "SQLite runs within them.",
            table(
                ["", "all of ours", *programs, "smtp-source"],
                [
                    [
                        name,
                        _micro(one["ours"], "ours"),
                        *(_micro(one["ours"], program) for program in programs),
                        _micro(one["source"], "source"),
                    ]
                    for name, one in found.items()
                ],
            ),
        ]
    )


def _micro(runs: list[Figures], name: str) -> str:
    return f"{middle(runs, name) * 1e6:.1f}" if name in runs[0] else "–"


PART = Part("wire", "How fast, beside smtp-source", measure, describe)
