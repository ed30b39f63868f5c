"""`--quick` leaves nothing that starts another process unnoticed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STARTING = {
    "popen": "subprocess.run(['true'])",
    "system": "os.system('true')",
    "fork": "os.fork() or os._exit(0)",
    "forkpty": "os.forkpty()[0] or os._exit(0)",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "exec": "os.execv('/bin/true', ['true'])",
    "child": "multiprocessing.get_context('fork').Process(target=print).start()",
}
HEAD = "import multiprocessing, os, subprocess, pytest\n"
FIXTURE = """
@pytest.fixture(scope="{scope}")
def started_{scope}():
    subprocess.run(["true"])

@pytest.fixture(scope="{scope}")
def ended_{scope}():
    yield
    subprocess.run(["true"])

def test_started_{scope}(started_{scope}): pass
def test_ended_{scope}(ended_{scope}): pass
"""


def run(folder: Path, tests: str, *options: str) -> str:
    """Run tests that know of the project no more than `--quick`."""
    (folder / "test_it.py").write_text(HEAD + tests)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = processes\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-rfE", *options, "."]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.processes
def test_each_way_to_start_a_process_is_refused(tmp_path: Path) -> None:
    tests = "".join(f"def test_{name}(): {line}\n" for name, line in STARTING.items())
    out = run(tmp_path, tests, "--quick")
    refused = re.findall(r"^FAILED test_it.py::test_(\w+) - .*mark this test", out, re.MULTILINE)
    assert set(refused) == set(STARTING), out


@pytest.mark.processes
@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_fixtures_may_not_start_one_either(tmp_path: Path, scope: str) -> None:
    assert "1 passed, 2 errors" in run(tmp_path, FIXTURE.format(scope=scope), "--quick")


@pytest.mark.processes
def test_the_processes_of_xdist_are_allowed(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, "def test_it(): pass\n", "--quick", "-n", "2")
    assert "1 failed" in run(tmp_path, "def test_it(): os.system('true')\n", "--quick", "-n", "2")


@pytest.mark.processes
def test_without_quick_everything_is_allowed(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, "def test_it(): os.system('true')\n")
