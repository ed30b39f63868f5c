"""The demo: it plays its story to the end, says what failed, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.demo.parts import Parts
from tests.processes import Process, eventually
from tests.servers import temporary_folder
from tests.service import complete

COMMAND = [sys.executable, "-m", "mailer", "demo"]
OURS = "Fiskeskøyta «Solbris» er hjemme igjen etter over hundre år"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its own folder; it must be empty in the end."""
    with temporary_folder() as path:
        yield path


@pytest.fixture
def demo(folder: Path, tmp_path: Path) -> Iterator[Process]:
    """A demo that stays up, playing the release of `another`."""
    command = [*COMMAND, "--release", str(another(tmp_path))]
    process = Process(command, tmp_path / "log", environment=surroundings(folder))
    process.launch()
    yield process
    process.stop()


def another(folder: Path) -> Path:
    """Write a release that is neither our sample nor new."""
    file = folder / "release.json"
    release = {
        "reference": "a-bridge-opens",
        "language": "en",
        "title": "The new bridge is open",
        "body_html": "<p>It opened <b>today</b>.</p>",
        "published_at": "2020-02-02T12:00:00+01:00",
        "hold_minutes": 30,
    }
    file.write_text(json.dumps(release))
    return file


def surroundings(folder: Path) -> dict[str, str]:
    return complete({"TMPDIR": str(folder), "PYTHONUTF8": "1"})


def once(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--once", *options],
        env=surroundings(folder),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def descendants(pid: int) -> set[int]:
    """List the children of a process, and theirs."""
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found |= {child, *descendants(child)}
    return found


def gone(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def test_once_plays_the_whole_story_and_leaves_nothing_behind(folder: Path) -> None:
    done = once(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"“{OURS}” is published" in done.stdout
    assert "the receipt balances: 4 = 4 accepted" in done.stdout
    assert "the receipt balances: 2 = 2 accepted" in done.stdout
    assert "who have left, get nothing" in done.stdout
    assert "✗" not in done.stdout
    assert list(folder.iterdir()) == []


def test_two_that_begin_at_once_share_no_address() -> None:
    with Parts.running() as one, Parts.running() as other:
        assert one.web_url != other.web_url


def test_stays_up_with_what_it_sent_until_it_is_interrupted(folder: Path, demo: Process) -> None:
    demo.ready(lambda: "until Ctrl-C" in demo.log)
    links = dict(re.findall(r"^ +(Press room|Inbox) +(http\S+)$", demo.log, re.MULTILINE))
    assert "Vindvik kystmuseum" in fetch(links["Press room"])
    assert fetch(links["Inbox"]).count("The new bridge is open") == 4
    [own] = folder.iterdir()
    assert own.stat().st_mode & 0o077 == 0
    started = descendants(demo.pid)
    assert len(started) >= 5

    demo.signal(signal.SIGINT)
    demo.signal(signal.SIGINT)
    assert demo.wait() == 0
    assert gone(started)
    assert list(folder.iterdir()) == []


def test_leaves_no_process_when_it_is_killed(demo: Process) -> None:
    demo.ready(lambda: "✓ Kari signs up" in demo.log)
    started = descendants(demo.pid)
    assert len(started) >= 5
    demo.kill()
    eventually(lambda: gone(started), "the end of every part")


def test_says_which_part_has_fallen(folder: Path, demo: Process) -> None:
    demo.ready(lambda: "✓ Kari signs up" in demo.log)
    valkey = next(
        pid
        for pid in descendants(demo.pid)
        if b"valkey-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(valkey, signal.SIGKILL)
    assert demo.wait() == 1
    assert "The part “valkey” has ended by itself." in demo.log
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[1]", '{"title": "It lacks everything else"}'])
def test_refuses_a_release_that_cannot_be_published(
    content: str, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "release.json"
    file.write_text(content)
    done = once(folder, "--release", str(file))
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
