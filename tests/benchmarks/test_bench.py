"""The benchmark still runs: small sizes, no figure asserted, but the counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main

RECIPIENTS, ROOMS, SIGN_UPS, QUESTIONS = 200, 3, 40, 10


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some parts, measured on the smallest scale, and the page about them."""
    folder = tmp_path_factory.mktemp("bench")
    main(
        [
            *("wire", "latency", "signups", "enumeration", "--quick", "--database", "sqlite"),
            *("--recipients", str(RECIPIENTS), "--small-releases", str(ROOMS)),
            *("--sign-ups", str(SIGN_UPS), "--questions", str(QUESTIONS)),
            *("--results", str(folder), "--page", str(folder / "page.md")),
        ]
    )
    return folder


def test_the_page_tells_of_every_part(results: Path) -> None:
    page = (results / "page.md").read_text()
    for title in (
        "# Performance",
        "## How fast, beside smtp-source",
        "## From the publish call",
        "## Sign-ups",
    ):
        assert title in page


def test_everybody_is_counted_and_nobody_lost(results: Path) -> None:
    wire = json.loads((results / "wire.json").read_text())["figures"]["databases"]["sqlite"]
    assert [run["number"] for run in wire["ours"]] == [RECIPIENTS]
    latency = json.loads((results / "latency.json").read_text())["figures"]["databases"]["sqlite"]
    assert len(latency["idle"]) == len(latency["busy"]) == ROOMS
    # A sink of its own notes every message: ten followers a room, and the larger release.
    assert latency["arrived_before"] == ROOMS * 10 + RECIPIENTS // 2


def test_whoever_signed_up_is_written_to(results: Path) -> None:
    figures = json.loads((results / "signups.json").read_text())["figures"]["databases"]["sqlite"]
    assert [run["number"] for run in figures["ours"]] == [SIGN_UPS]
    assert [run["mailed"] for run in figures["ours"]] == [SIGN_UPS]
    figures = json.loads((results / "enumeration.json").read_text())["figures"]["databases"]
    for state in ("known", "paused", "suppressed", "erased"):
        [run] = figures["sqlite"][state]
        assert len(run["known"]) == len(run["unknown"]) == QUESTIONS
        assert 0.5 <= run["area"] <= 1
