"""Against the tutorial: what the first program would reach that comes to mind."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.bench_service import MANY, MANY_CONNECTIONS, bench_service, figures, sample
from tests.benchmarks.parts import Figures, Part, Sizes, middle, spread, table
from tests.benchmarks.processor import run
from tests.servers import Sink, sink

_ROOM = "tutorial"
_NAMES = {"theirs": "the tutorial's, one connection", "reconnecting": "a connection for each mail"}


def measure(sizes: Sizes) -> Figures:
    """Send by us, by the tutorial's program, and by one that connects for each mail, in turns."""
    number = sizes.recipients // 10
    runs: Figures = {"ours": [], "theirs": [], "reconnecting": []}
    with sink() as box, bench_service("sqlite", box.url, **MANY) as running:
        running.open(_ROOM, sizes.recipients)
        message = running.folder / "message"
        message.write_bytes(sample())
        for _ in range(sizes.pairs):
            runs["ours"].append(running.send(_ROOM))
            for name, options in (("theirs", []), ("reconnecting", ["--reconnect"])):
                url = running.database.url
                runs[name].append(_newsletter(url, box, message, number, options))
    return {"recipients": sizes.recipients, "theirs": number, "runs": runs}


def _newsletter(url: str, box: Sink, message: Path, number: int, options: list[str]) -> Figures:
    command = [sys.executable, "-m", "tests.benchmarks.newsletter", url, box.port, message, number]
    ran = run([*map(str, command), *options])
    return figures(number, float(ran.said), {"program": ran.processor_seconds})


def describe(figures: Figures) -> str:
    """Write down how many times as fast we are."""
    runs = figures["runs"]
    rows = [["ours", f"{middle(runs['ours'], 'rate'):,.0f}", ""]]
    for name, words in _NAMES.items():
        ratios = [
            our["rate"] / their["rate"] for our, their in zip(runs["ours"], runs[name], strict=True)
        ]
        rows.append([words, f"{middle(runs[name], 'rate'):,.0f}", spread(ratios, 1)])
    return "\n\n".join(
        [
            "The same text and HTML to the same sink by `smtplib`, an `EmailMessage` for each "
            "recipient, and rows read with SQLAlchemy (tests/benchmarks/newsletter.py): no record "
            f"of acceptances, no signed links. {figures['recipients']:,} recipients by us over "
            f"{MANY_CONNECTIONS} connections, "
            f"{figures['theirs']:,} by each of the other two, in turns, on SQLite.",
            table(["", "mails a second", "ours is so many times as fast"], rows),
        ]
    )


PART = Part("tutorial", "How fast, beside a program from a tutorial", measure, describe)
