"""Where the figures come from: the machine, its disk, and the versions of everything."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.parts import Figures
from tests.servers import find_program
from tests.service import ROOT

_SYNCS = 200


def describe() -> Figures:
    """Describe this machine, as it is now."""
    return {
        "processor": _first(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()),
        "processors": len(os.sched_getaffinity(0)),
        "memory_octets": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_before": os.getloadavg()[0],
        "sync_seconds": _sync_seconds(),
        "system": f"{_system()}, Linux {platform.release()}",
        "versions": {
            "mailer": _said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
            "Python": platform.python_version(),
            "SQLite": sqlite3.sqlite_version,
            "PostgreSQL": _version(find_program("postgres"), "--version"),
            "Redis": _version(find_program("redis-server"), "--version"),
            "Postfix": _version(find_program("postconf"), "-d", "-h", "mail_version"),
            "OpenSSL": _version("openssl", "version"),
        },
    }


def _sync_seconds() -> float:
    """Tell how long 4 KiB take to the disk, for that is the price of being durable."""
    with tempfile.TemporaryFile() as file:
        began = time.monotonic()
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
        return (time.monotonic() - began) / _SYNCS


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return sys.platform


def _version(*command: str) -> str:
    return _first(r"(\d+\.\d+[\w.]*)", _said(*command))


def _said(*command: str) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return ended.stdout.strip()


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "unknown"
