"""Processor time and memory of programs, as Linux accounts for them in /proc."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.parts import Figures

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.05
_GONE = (FileNotFoundError, ProcessLookupError)


def family(pid: int) -> list[int]:
    """List a process and all its descendants."""
    try:
        children = [
            int(child)
            for tasks in Path(f"/proc/{pid}/task").glob("*/children")
            for child in tasks.read_text().split()
        ]
    except _GONE:
        return []
    return [pid, *(one for child in children for one in family(child))]


def spent(pid: int) -> float:
    """Tell the seconds of user and system time of a process, its children, and those it buried."""
    return sum(map(_ticks, family(pid))) / _TICKS


def _ticks(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except _GONE:
        return 0
    # utime, stime, cutime and cstime: fields 14 to 17, counted behind the name of the program.
    return sum(map(int, status.rpartition(")")[2].split()[11:15]))


class Meter:
    """What several programs have spent since the meter was made."""

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = programs
        self._before = {name: spent(pid) for name, pid in programs.items()}

    def read(self) -> dict[str, float]:
        """Tell the seconds each of them has spent so far."""
        return {name: spent(pid) - self._before[name] for name, pid in self._programs.items()}


@dataclass(frozen=True)
class Ran:
    """What a program has cost that ran from start to end, and what it said."""

    seconds: float
    processor_seconds: float
    peak_octets: int
    said: str


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Ran:
    """Run a program to its end; AssertionError if it fails."""
    began = time.monotonic()
    running = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert running.stdout is not None
    with running.stdout as stdout, Memory({"program": running.pid}).watched() as peaks:
        said = stdout.read()
        _, status, usage = os.wait4(running.pid, 0)
        seconds = time.monotonic() - began
    running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0, f"{command} ended with {running.returncode}: {said}"
    return Ran(seconds, usage.ru_utime + usage.ru_stime, peaks.get("program", 0), said)


class Memory:
    """The largest resident memory (VmHWM) of programs, and of the children of each, in octets."""

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = programs
        self._over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[Figures]:
        """Look again and again while the block runs; the largest child of `x` is `x's child`."""
        peaks: Figures = {}
        watcher = threading.Thread(target=self._watch, args=(peaks,), daemon=True)
        watcher.start()
        try:
            yield peaks
        finally:
            self._over.set()
            watcher.join()

    def _watch(self, peaks: Figures) -> None:
        while True:
            for name, pid in self._programs.items():
                own, *children = map(_peak, family(pid) or [0])
                for key, peak in ((name, own), (f"{name}'s child", max(children, default=0))):
                    peaks[key] = max(peaks.get(key, 0), peak)
            if self._over.wait(_LOOK_SECONDS):
                return


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except _GONE:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
