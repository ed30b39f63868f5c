"""The profile: where the processor time of the sending worker goes, by py-spy."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.benchmarks.bench_service import bench_service
from tests.benchmarks.parts import Figures, Part, Sizes, table
from tests.processes import Process, eventually
from tests.servers import sink

_ROOM = "profile"
_SAMPLES_A_SECOND = "200"
_SHOWN = 10
_PY_SPY = Path(sys.executable).with_name("py-spy")


def measure(sizes: Sizes) -> Figures:
    """Look at the worker's child many times a second while it sends a release."""
    if not _PY_SPY.exists():
        return {"missing": "py-spy is not installed; `make bench` does it where it can."}
    with sink() as box, bench_service("sqlite", box.url) as running:
        running.open(_ROOM, sizes.recipients)
        worker = running.service.processes["releases"]
        eventually(lambda: not worker.children, "the releases before are done")
        path = running.publish(_ROOM)
        stacks = running.folder / "stacks"
        looked = _look(worker, stacks)
        running.until_done(_ROOM, path)
        if looked.wait(60):
            return {"missing": "py-spy may not look at other processes here; root may."}
        own = _own_time(stacks.read_text())
    return {
        "recipients": sizes.recipients,
        "samples": own.total(),
        "own": dict(own.most_common(25)),
    }


def _look(worker: Process, file: Path) -> subprocess.Popen[bytes]:
    """Start py-spy on the child that sends, until that ends."""
    [child, *_] = eventually(lambda: worker.children, "the worker has a child")
    options = (
        "--format",
        "raw",
        "--rate",
        _SAMPLES_A_SECOND,
        "--duration",
        "3600",
        "--nonblocking",
    )
    return subprocess.Popen(
        [str(_PY_SPY), "record", "--pid", str(child), *options, "--output", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _own_time(stacks: str) -> Counter[str]:
    """Count the samples in which each function was the innermost one."""
    own: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        innermost = re.sub(r":\d+\)$", ")", stack.rpartition(";")[2])
        own[innermost] += int(count)
    return own


def describe(figures: Figures) -> str:
    """Write down the ten functions in which most of the time is spent."""
    if "missing" in figures:
        return str(figures["missing"])
    shares = list(figures["own"].items())[:_SHOWN]
    return "\n\n".join(
        [
            f"The child of the releases worker while it sends to {figures['recipients']:,} "
            f"followers on SQLite, by py-spy: the share of {figures['samples']:,} samples in which "
            "a function itself was running, without what it called; C code counts for its caller.",
            table(
                ["function", "share"],
                [[f"`{name}`", f"{count / figures['samples']:.1%}"] for name, count in shares],
            ),
        ]
    )


PART = Part("profile", "Where the worker's time goes", measure, describe)
