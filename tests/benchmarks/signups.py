"""Sign-ups: how many a second, beside a route that inserts the same rows and does nothing else."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mailer.demo import samples
from mailer.domain import publishers
from tests.benchmarks.bench_service import SENDER, database, listening, program, web_alone
from tests.benchmarks.latency import Stamps, tail
from tests.benchmarks.load import post
from tests.benchmarks.parts import DATABASES, Figures, Part, Sizes, middle, spread, table
from tests.processes import free_port
from tests.servers import temporary_folder
from tests.service import application, complete, contract, procfile

ROOM = "visitors"
UNLIMITED = {
    f"MAILER_FOLLOWS_{limit}": "100000"
    for limit in (
        *("A_MINUTE", "A_MINUTE_IN_ALL", "AN_HOUR_FOR_ADDRESS", "AN_HOUR_FOR_DOMAIN"),
        "AN_HOUR_FOR_PRESS_ROOM",
    )
}
_VISITORS = 16
_WARM = 50


def measure(sizes: Sizes) -> Figures:
    """Sign up at both, in turns."""
    databases: Figures = {}
    for kind in sizes.databases:
        runs: Figures = {"ours": [], "bare": []}
        for _ in range(sizes.pairs):
            runs["ours"].append(_ours(kind, sizes.sign_ups))
            runs["bare"].append(_bare(kind, sizes.sign_ups))
        databases[kind] = runs
    return {"sign_ups": sizes.sign_ups, "databases": databases}


def _ours(kind: str, number: int) -> Figures:
    """Sign up at the service; then see that whoever was answered is written to."""
    with (
        temporary_folder() as folder,
        program("stamping", folder / "stamps", 0) as port,
        web_alone(kind, f"smtp://127.0.0.1:{port}", **UNLIMITED) as running,
    ):
        running.open(ROOM, 1)
        found = _measured(running.port, f"/{ROOM}/follow", number)
        running.service.start("letters")
        stamps = Stamps(folder / "stamps")
        stamps.wait_for("visitor", _WARM + number)
        return found | {"mailed": stamps.count["visitor"] - _WARM}


def _bare(kind: str, number: int) -> Figures:
    with database(kind) as fresh:
        variables = contract(database_url=fresh.url, redis_url="", smtp_url="smtp://127.0.0.1")
        with application(variables):
            publishers.add(publishers.PublisherDraft(ROOM, samples.NAME, SENDER, "nb"))
        with _bare_route(fresh.url) as port:
            return _measured(port, "/follow", number)


@contextmanager
def _bare_route(database_url: str) -> Iterator[int]:
    """Run the bare route as the Procfile runs the web process."""
    port = free_port()
    command = procfile()["web"].replace("mailer.app:served", "tests.benchmarks.bare:create_app")
    environment = {"DATABASE_URL": database_url, "BIND": "127.0.0.1", "PORT": str(port)}
    with listening(["sh", "-c", f"exec {command}"], port, complete(environment)):
        yield port


def _measured(port: int, path: str, number: int) -> Figures:
    post(port, path, (f"visitor-warm{one}@example.org" for one in range(_WARM)), _VISITORS)
    began = time.perf_counter()
    addresses = (f"visitor-{one}@example{one % 7}.org" for one in range(number))
    seconds = post(port, path, addresses, _VISITORS)
    return {
        "number": len(seconds),
        "rate": len(seconds) / (time.perf_counter() - began),
        "median": statistics.median(seconds),
        "tail": tail(seconds),
    }


def describe(figures: Figures) -> str:
    """Write down rates, their ratio, and how long visitors wait."""
    rows = []
    for kind, runs in figures["databases"].items():
        ratios = [
            our["rate"] / bare["rate"] for our, bare in zip(runs["ours"], runs["bare"], strict=True)
        ]
        for name, words in (("ours", "ours"), ("bare", "the bare route")):
            rows.append(
                [
                    f"{DATABASES[kind]}, {words}",
                    f"{middle(runs[name], 'rate'):,.0f}",
                    spread(ratios) if name == "ours" else "",
                    f"{middle(runs[name], 'median') * 1000:,.1f}",
                    f"{middle(runs[name], 'tail') * 1000:,.1f}",
                ]
            )
    every = sum(run["number"] for runs in figures["databases"].values() for run in runs["ours"])
    mailed = sum(run["mailed"] for runs in figures["databases"].values() for run in runs["ours"])
    return "\n\n".join(
        [
            f"{figures['sign_ups']:,} sign-ups of new addresses by {_VISITORS} visitors at a time, "
            "each on a connection of its own, at the web process of the Procfile with its limits "
            "raised and Redis beside it; and at a Flask route that inserts the same four rows and "
            "does nothing else (tests/benchmarks/bare.py), as the same Procfile would run it, in "
            f"turns. Of {every:,} sign-ups that were answered, {mailed:,} got their letter.",
            table(
                [
                    *("", "sign-ups a second", "ours ÷ bare"),
                    *("median, ms", "99th percentile, ms"),
                ],
                rows,
            ),
        ]
    )


PART = Part("signups", "Sign-ups", measure, describe)
