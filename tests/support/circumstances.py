"""Where and when something was measured, for the head of a page."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.servers import find_program
from tests.service import ROOT


def circumstances() -> dict[str, str]:
    """Give the date, the commit, the machine and the versions of what takes part."""
    postgresql = said(find_program("postgres"), "--version")
    redis = said(find_program("redis-server"), "--version").split()[2].removeprefix("v=")
    model = next(
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "machine": f"{os.cpu_count()} × {model}, {platform.system()} {platform.release()}",
        "versions": f"Python {platform.python_version()}, {postgresql}, "
        f"SQLite {sqlite3.sqlite_version}, Redis {redis}, RQ {version('rq')}, "
        f"SQLAlchemy {version('sqlalchemy')}",
    }


def commits(tried: Iterable[str]) -> str:
    """Name the commits that were tried, those of most trials first."""
    numbers = Counter(tried).most_common()
    return ", ".join(f"`{commit}` ({number} trials)" for commit, number in numbers)


def said(*command: str) -> str:
    """Run a program, and give what it says."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
