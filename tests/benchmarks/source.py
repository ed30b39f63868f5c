"""Postfix's smtp-source, the load generator in C: the bar for how fast mail can leave at all."""

from __future__ import annotations

from functools import cache

from tests.benchmarks.bench_service import CONNECTIONS, SENDER, figures
from tests.benchmarks.parts import Figures
from tests.benchmarks.processor import Meter, Ran, run
from tests.relay import Relay
from tests.servers import Sink, find_program


def source(box: Sink, number: int, size: int, port: int | None = None) -> Figures:
    """Send so many messages of so many octets as fast as it can, over as many connections."""
    meter = Meter({"sink": box.process.pid})
    ran = _run(port or box.port, number, size - _header_octets())
    return figures(number, ran.seconds, {"source": ran.processor_seconds, **meter.read()})


@cache
def _header_octets() -> int:
    """Measure the header it adds, so that its messages are as large as ours."""
    with Relay.running() as relay:
        _run(relay.port, 1, 1000)
        return len(relay.received[0].content) - 1000


def _run(port: int, number: int, length: int) -> Ran:
    sessions = min(CONNECTIONS, number)
    options = ("-d", "-s", sessions, "-l", length, "-m", number, "-f", SENDER)
    program = find_program("smtp-source")
    return run([program, *map(str, options), "-t", "ada@example.org", f"127.0.0.1:{port}"])
