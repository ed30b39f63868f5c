"""The page: docs/performance.md, written from the figures of every part that was measured."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.benchmarks.latency import tail
from tests.benchmarks.parts import DATABASES, Figures, Part, middle, spread

_HEAD = """# Performance

Written by `make bench` from what it measured; nothing here is typed by hand.
`make bench ARGS=--quick` checks that the benchmark works, `make bench ARGS=wire` repeats one part.
"""


def write(page: Path, folder: Path, parts: Iterable[Part]) -> None:
    """Write the page from the results in a folder; a part without one is left out."""
    found = {part: json.loads(file.read_text()) for part in parts if (file := _file(folder, part))}
    figures = {part.name: result["figures"] for part, result in found.items()}
    sections = [
        _HEAD.strip(),
        " ".join(_answer(figures)),
        *(_section(part, result) for part, result in found.items()),
        _machines(found.values()),
    ]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(section for section in sections if section) + "\n")


def store(folder: Path, part: Part, result: Figures) -> None:
    """Keep the result of one part, so that the others need not be measured again."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part.name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False))


def _file(folder: Path, part: Part) -> Path | None:
    file = folder / f"{part.name}.json"
    return file if file.exists() else None


def _section(part: Part, result: Figures) -> str:
    what = part.describe(result["figures"])
    return (
        f"## {part.title}\n\n{what}\n\n"
        f"`{result['command']}`, {result['seconds']:.0f} seconds on {result['date']}."
    )


def _answer(figures: dict[str, Figures]) -> Iterator[str]:
    """Say in three sentences how fast it is, how large it may grow, and how long one waits."""
    if "wire" in figures:
        yield _speed(figures["wire"], figures.get("tutorial"))
    if "scale" in figures:
        yield _growth(figures["scale"])
    if "latency" in figures:
        yield _wait(figures["latency"])


def _speed(wire: Figures, tutorial: Figures | None) -> str:
    rates = " and ".join(
        f"{middle(found['ours'], 'rate'):,.0f} mails a second on {DATABASES[kind]} "
        f"({statistics.median(found['rate_ratios']):.2f} of what smtp-source reaches)"
        for kind, found in wire["databases"].items()
    )
    beside = ""
    if tutorial is not None:
        runs = tutorial["runs"]
        times = middle(runs["ours"], "rate") / middle(runs["theirs"], "rate")
        beside = f", {times:.1f} times as fast as a program from a tutorial"
    return f"One worker sends a release at {rates}, with every acknowledgement durable{beside}."


def _growth(scale: Figures) -> str:
    each = " and ".join(
        f"{_minutes(runs[-1]['seconds'])} on {DATABASES[kind]} with "
        f"{(runs[-1]['worker_peak_octets'] + runs[-1]['child_peak_octets']) / (1 << 20):,.0f} MiB"
        for kind, runs in scale["databases"].items()
    )
    number = max(runs[-1]["number"] for runs in scale["databases"].values())
    return f"A release to {number:,} followers takes {each} in the worker and its child."


def _wait(latency: Figures) -> str:
    each = "; ".join(
        f"{statistics.median(found['idle']) * 1000:,.0f} ms after the publish call when nothing "
        f"else is going on, {statistics.median(found['busy']) * 1000:,.0f} ms (99th percentile "
        f"{tail(found['busy']) * 1000:,.0f} ms) beside a large one, on {DATABASES[kind]}"
        for kind, found in latency["databases"].items()
    )
    return f"The first mail of a small release is accepted {each}."


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 100 else f"{seconds:.1f} seconds"


def _machines(results: Iterable[Figures]) -> str:
    """Describe the machine, once for all parts that saw the same."""
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for result in results:
        seen[_machine(result)].append(result["machine"]["sync_seconds"] * 1000)
    each = [f"{machine} 4 KiB take {spread(disk)} ms." for machine, disk in seen.items()]
    return "\n\n".join(["## The machine", *each]) if each else ""


def _machine(result: Figures) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processors']} × {machine['processor']}, "
        f"{machine['memory_octets'] / (1 << 30):.0f} GiB, {machine['system']}. Sink, database and "
        f"service share it. {versions}. Everything else has its defaults: the settings, the "
        "Procfile, and PostgreSQL but for its port and number of connections. Both databases wait "
        "for the disk at every commit;"
    )
