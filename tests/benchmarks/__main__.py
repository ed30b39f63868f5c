"""`make bench`: measures the parts that are asked for, and writes the page from all results."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import (
    dkim,
    enumeration,
    latency,
    micro,
    profile,
    roundtrips,
    scale,
    signups,
    tutorial,
    wire,
)
from tests.benchmarks.machine import describe
from tests.benchmarks.page import store, write
from tests.benchmarks.parts import DATABASES, QUICK, Part, Sizes
from tests.service import ROOT

PARTS = {
    module.PART.name: module.PART
    for module in (
        *(wire, tutorial, dkim, scale, latency, roundtrips),
        *(signups, enumeration, micro, profile),
    )
}
_BUILD = ROOT / "build" / "bench"


def main(arguments: Sequence[str]) -> None:
    """Measure, keep each result as soon as it is there, and write the page."""
    asked = _read(arguments)
    sizes = _sizes(asked)
    results = asked.results or (_BUILD / "quick" if asked.quick else _BUILD)
    page = asked.page or (results if asked.quick else ROOT / "docs") / "performance.md"
    command = " ".join(["make bench", *([f"ARGS='{' '.join(arguments)}'"] if arguments else [])])
    for name in asked.parts or PARTS:
        _measure(PARTS[name], sizes, results, command)
        write(page, results, PARTS.values())
    print(f"Written: {page}")


def _measure(part: Part, sizes: Sizes, results: Path, command: str) -> None:
    print(f"{part.name}: {part.title} …", flush=True)
    machine, began = describe(), time.monotonic()
    figures = part.measure(sizes)
    result = {
        "command": command,
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "seconds": time.monotonic() - began,
        "machine": machine,
        "figures": figures,
    }
    store(results, part, result)
    print(f"{part.describe(figures)}\n\n{result['seconds']:.0f} seconds.\n", flush=True)


def _sizes(asked: argparse.Namespace) -> Sizes:
    sizes = QUICK if asked.quick else Sizes()
    for name in ("recipients", "pairs", "small_releases", "sign_ups", "questions"):
        if (given := getattr(asked, name)) is not None:
            sizes = replace(sizes, **{name: given})
    if asked.largest is not None:
        scales = (*(one for one in sizes.scales if one < asked.largest), asked.largest)
        sizes = replace(sizes, scales=scales)
    return replace(sizes, databases=tuple(asked.database or sizes.databases))


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--quick", action="store_true", help="small sizes, and a page of its own")
    parser.add_argument("--recipients", type=int, help=f"instead of {Sizes.recipients:,}")
    parser.add_argument("--pairs", type=int, help=f"turns, instead of {Sizes.pairs}")
    parser.add_argument("--small-releases", type=int, help=f"instead of {Sizes.small_releases}")
    parser.add_argument("--sign-ups", type=int, help=f"instead of {Sizes.sign_ups:,}")
    parser.add_argument("--questions", type=int, help=f"instead of {Sizes.questions:,}")
    parser.add_argument("--largest", type=int, help=f"instead of {Sizes.scales[-1]:,} followers")
    parser.add_argument("--database", action="append", choices=DATABASES, help="instead of both")
    parser.add_argument("--results", type=Path, help="where figures are kept (build/bench)")
    parser.add_argument("--page", type=Path, help="what is written (docs/performance.md)")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return asked


if __name__ == "__main__":
    main(sys.argv[1:])
