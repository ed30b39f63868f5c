"""A planted fault is found by a test that passes without it and fails with it, and else is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import Copy, Mutant, Verdict

PATH = "counted.py"
SOURCE = """def add(one, other):
    # A comment.
    return one + other
"""
WRONG = SOURCE.replace("+", "-")
UNIMPORTABLE = "raise RuntimeError"
TESTS = """import time
import pytest
from counted import add

@pytest.fixture
def added(): assert add(1, 2) == 3

@pytest.mark.parametrize("name", ["a name - with spaces"])
def test_finds(name): assert add(1, 2) == 3
def test_finds_nothing(): assert add(1, 0) == 1
def test_is_red(): assert add(1, 2) == 4
def test_reads_the_comment(): assert "# A" in open("counted.py").read()
def test_has_a_fixture(added): pass
def test_waits(): time.sleep(0 if add(1, 2) == 3 else 60)
"""
FINDS, NOTHING, RED, COMMENT, FIXTURE, WAITS = (
    f"test_counted.py::test_{name}"
    for name in (
        *("finds[a name - with spaces]", "finds_nothing", "is_red", "reads_the_comment"),
        *("has_a_fixture", "waits"),
    )
)
ABSENT = "test_counted.py::test_absent"
ABSENT_FILE = "test_absent.py::test_absent"
UNCOLLECTED = "test_broken.py::test_finds"

pytestmark = pytest.mark.processes


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A small project."""
    (tmp_path / PATH).write_text(SOURCE)
    (tmp_path / "test_counted.py").write_text(TESTS)
    (tmp_path / "test_broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return Copy(tmp_path)


def tried(copy: Copy, *tests: str, source: str = WRONG) -> Verdict:
    return copy.tried(Mutant(PATH, (3, 3), "+ -> -", source), list(tests))


def test_what_fails_with_the_fault_alone_has_found_it(copy: Copy, tmp_path: Path) -> None:
    assert tried(copy, NOTHING, FINDS) == Verdict("found", FINDS)
    assert tried(copy, NOTHING) == Verdict("not found", "1 tests reach it")
    assert tried(copy) == Verdict("not reached", "no test reaches it")
    assert (tmp_path / PATH).read_text() == SOURCE


@pytest.mark.parametrize("test", [RED, COMMENT, ABSENT, ABSENT_FILE, UNCOLLECTED])
def test_what_fails_without_the_fault_too_is_left_out(copy: Copy, test: str) -> None:
    assert tried(copy, test).kind == "not tried"
    assert tried(copy, test, NOTHING).kind == "not found"
    assert tried(copy, test, NOTHING, FINDS) == Verdict("found", f"{FINDS} (1 fail without it)")


def test_a_module_that_cannot_be_imported_is_not_found(copy: Copy) -> None:
    assert tried(copy, FINDS, source=UNIMPORTABLE).kind == "broken"


def test_a_fixture_that_fails_finds_nothing_but_hides_nothing(copy: Copy) -> None:
    assert tried(copy, FIXTURE).kind == "broken"
    assert tried(copy, FIXTURE, FINDS) == Verdict("found", FINDS)


def test_the_time_that_tests_take_finds_nothing(copy: Copy) -> None:
    assert tried(copy, WAITS, source=SOURCE).kind == "not found"
    copy.patience = 5
    assert tried(copy, WAITS).kind == "too slow"
