"""Samples small faults in some packages, and tells which tests find them.

    python -m tests.mutants --number 60 --seed 17 --packages mailer/fanout

The suite is run once with a record of the lines that each test reaches. Then each fault is written
into a copy of the project, and the tests that reach its line are run there until one fails.
Only tests count that pass there before; one whose fixture fails, or that cannot be collected, or
that takes too long, finds nothing.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import coverage

from tests.conftest import FOLDERS_OF_PROGRAMS

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".mutants"
SEED = ROOT.parent / "shared"
PACKAGES = ("mailer/domain", "mailer/fanout", "mailer/mail")
KINDS = ("found", "not found", "not reached", "not tried", "broken", "too slow")
_LEFT_OUT = (".git", ".venv", ".node", ".mutants", "gallery", "__pycache__", ".*_cache")
_EVERYTHING = ("--continue-on-collection-errors", "-rA")
_USAGE_ERROR = 4
_SECONDS_OF_TESTS = 120
_PATIENCE = 8
"""How many times longer than without a fault the tests may take."""
_SWAPS: dict[type[ast.AST], Callable[[], Any]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True)
class Mutant:
    """One fault: its file and line, what is changed to what, and the file with the fault in it."""

    path: str
    lines: tuple[int, ...]
    """The line of the fault, and the first line of its statement."""
    change: str
    source: str

    def __str__(self) -> str:
        """Write the place and the change in one line."""
        return f"{self.path}:{self.lines[0]}: {self.change}"


@dataclass(frozen=True)
class Place:
    """Where a node of a syntax tree stands in its parent."""

    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    statement: ast.stmt

    def put(self, node: ast.AST) -> None:
        """Put a node there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def mutants(path: Path) -> Iterator[Mutant]:
    """Make every fault that this program knows, in the functions of one file."""
    tree = ast.parse(path.read_text())
    for place in places(tree):
        for other in changes(place.node):
            first = place.statement.lineno
            lines = getattr(place.node, "lineno", first), first
            change = f"{_first_line(place.node)} -> {_first_line(other)}"
            place.put(ast.copy_location(other, place.node))
            yield Mutant(str(path.relative_to(ROOT)), lines, change, ast.unparse(tree))
            place.put(place.node)


def places(node: ast.AST, statement: ast.stmt | None = None) -> Iterator[Place]:
    """Walk through what functions do: no annotation, decorator, default or docstring."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "args") and not isinstance(
            node, ast.Call
        ):
            continue
        several = value if isinstance(value, list) else [value]
        for index, child in enumerate(several):
            if not isinstance(child, ast.AST) or _is_docstring(child):
                continue
            in_function = statement or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            nearest = child if in_function and isinstance(child, ast.stmt) else statement
            if nearest is not None:
                place = index if isinstance(value, list) else None
                yield Place(node, field, place, child, nearest)
            yield from places(child, nearest)


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Give what may stand in the place of a node by mistake."""
    copy = deepcopy(node)
    if isinstance(copy, ast.Compare) and type(copy.ops[0]) in _SWAPS:
        copy.ops[0] = _SWAPS[type(copy.ops[0])]()
        yield copy
    elif isinstance(copy, (ast.BoolOp, ast.BinOp)) and type(copy.op) in _SWAPS:
        copy.op = _SWAPS[type(copy.op)]()
        yield copy
    elif isinstance(copy, ast.UnaryOp) and isinstance(copy.op, ast.Not):
        yield copy.operand
    elif isinstance(copy, (ast.If, ast.While, ast.IfExp)):
        copy.test = ast.UnaryOp(ast.Not(), copy.test)
        yield copy
    elif isinstance(copy, ast.Constant):
        yield from _other_values(copy.value)
    elif isinstance(copy, ast.Return) and not _is_none(copy.value):
        yield ast.Return(ast.Constant(None))
    elif isinstance(copy, ast.Expr) and isinstance(copy.value, (ast.Call, ast.Await)):
        yield ast.Pass()


def _other_values(value: object) -> Iterator[ast.Constant]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, str):
        yield ast.Constant(f"{value}?")


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _first_line(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]


class Suite:
    """The tests, the lines that each reaches, and how long each takes."""

    def __init__(self) -> None:
        self._data = coverage.CoverageData(str(KEPT / "coverage"))
        self._data.read()
        self._seconds: dict[str, float] = {}
        for case in ET.parse(KEPT / "tests.xml").iter("testcase"):
            name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            self._seconds[name] = float(case.get("time") or 0)

    @staticmethod
    def record() -> None:
        """Run the tests that call the package in their own process, and keep what they reach."""
        KEPT.mkdir(exist_ok=True)
        command = ["-q", "--cov=mailer", "--cov-context=test", "--cov-report="]
        command += [f"--ignore=tests/{folder}" for folder in sorted(FOLDERS_OF_PROGRAMS)]
        subprocess.run(
            [sys.executable, "-m", "pytest", *command, f"--junitxml={KEPT / 'tests.xml'}"],
            cwd=ROOT,
            env={**os.environ, "COVERAGE_FILE": str(KEPT / "coverage")},
            check=False,
        )

    def reaching(self, mutant: Mutant, at_most: float = _SECONDS_OF_TESTS) -> list[str]:
        """Return the tests that reach a line, the quick files first, for so many seconds.

        What a fixture reaches is recorded for the first test that asks for it, and may be shared by
        all tests of that file.
        """
        lines = self._data.contexts_by_lineno(str(ROOT / mutant.path))
        found: list[str] = next((lines[one] for one in mutant.lines if lines.get(one)), [])
        reached = {one.rpartition("|")[0] for one in found if one}
        shared = {one.partition("::")[0] for one in found if one.endswith("|setup")}
        files: defaultdict[str, list[str]] = defaultdict(list)
        for name in reached | {one for one in self._seconds if one.partition("::")[0] in shared}:
            files[name.partition("::")[0]].append(name)
        chosen: list[str] = []
        seconds = 0.0
        for names in sorted(files.values(), key=self._mean):
            for name in sorted(names):
                seconds += self._seconds.get(name, 0.0)
                if seconds < at_most:
                    chosen.append(name)
        return chosen

    def _mean(self, names: list[str]) -> float:
        return sum(self._seconds.get(name, 0.0) for name in names) / len(names)


def copied(tree: Path) -> Path:
    """Copy the project; what its tests find beside it and in `.node` is linked."""
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for place, target in {tree / ".node": ROOT / ".node", KEPT / "shared": SEED}.items():
        place.unlink(missing_ok=True)
        place.symlink_to(target)
    return tree


@dataclass(frozen=True)
class Verdict:
    """What became of a fault: its kind, by which it is counted, and what there is to say."""

    kind: str
    sentence: str


class Copy:
    """A copy of the project, in which tests are run with faults and without."""

    def __init__(self, tree: Path, seconds: float = _SECONDS_OF_TESTS) -> None:
        self._tree = tree
        self.patience = _PATIENCE * seconds
        """Seconds that the tests may take with a fault."""
        self._sound: dict[tuple[str, str], bool] = {}
        """Whether a test passes without a fault, by the file that would have it."""

    def tried(self, mutant: Mutant, reaching: list[str]) -> Verdict:
        """Run tests with the fault, but only those that pass without it."""
        if not reaching:
            return Verdict("not reached", "no test reaches it")
        place = self._tree / mutant.path
        original = place.read_text()
        # What ast.unparse leaves out, as comments, is no fault.
        without, fault = (ast.unparse(ast.parse(one)) for one in (original, mutant.source))
        try:
            place.write_text(fault)
            verdict = self._try(reaching)
            place.write_text(without)
            if verdict.kind == "ended":
                # As by a signal that is no longer taken; without the fault, it does not end.
                code, _ = self._run(reaching)
                return Verdict("found" if code in (0, 1) else "broken", verdict.sentence)
            if verdict.kind == "found":
                self._try_without(mutant.path, [verdict.sentence])
            if self._sound.get((mutant.path, verdict.sentence)):
                return verdict
            self._try_without(mutant.path, reaching)
            tests = [one for one in reaching if self._sound[mutant.path, one]]
            dropped = f" ({len(reaching) - len(tests)} fail without it)"
            remark = dropped if len(tests) < len(reaching) else ""
            if not tests:
                return Verdict("not tried", f"no test passes without it{remark}")
            place.write_text(fault)
            verdict = self._try(tests)
            return Verdict(verdict.kind, verdict.sentence + remark)
        finally:
            place.write_text(original)

    def _try_without(self, path: str, tests: list[str]) -> None:
        """Note which tests pass without a fault."""
        new = tests = [one for one in tests if (path, one) not in self._sound]
        code, out = self._run(tests, *_EVERYTHING) if tests else (0, "")
        # pytest then runs nothing, and names what it does not know.
        while code == _USAGE_ERROR:
            lines = out.splitlines()
            ends = {one: (f"/{one}", f": {one}") for one in tests}
            known = [one for one in tests if not any(line.endswith(ends[one]) for line in lines)]
            if not known or known == tests:
                break
            tests = known
            code, out = self._run(tests, *_EVERYTHING)
        for one in new:
            # A test that passes and whose fixture then fails has two lines.
            failed = named(out, "FAILED", [one]) or named(out, "ERROR", [one])
            self._sound[path, one] = bool(named(out, "PASSED", [one])) and not failed

    def _try(self, tests: list[str]) -> Verdict:
        """Run tests until one fails."""
        code, out = self._run(tests, "-x")
        if code == 1 and not named(out, "FAILED", tests):
            # The first error was one of a fixture; a test after it may still fail.
            code, out = self._run(tests)
        failed = named(out, "FAILED", tests)
        if code == 0:
            return Verdict("not found", f"{len(tests)} tests reach it")
        if code == 1 and failed:
            return Verdict("found", failed[0])
        if code is not None and code < 0:
            return Verdict("ended", f"pytest is ended by {signal.Signals(-code).name}")
        if code is None:
            return Verdict("too slow", f"the tests take more than {self.patience:.0f} seconds")
        last = (out.strip().splitlines() or [""])[-1]
        return Verdict("broken", f"pytest ends with {code}: {last}")

    def _run(self, tests: list[str], *options: str) -> tuple[int | None, str]:
        """Run tests; returns the exit code of pytest, None if it took too long, and its output."""
        names = self._tree / "tests.txt"
        names.write_text("\n".join(tests))
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "--tb=no", "-rfE"]
        with subprocess.Popen(
            [*command, *options, f"@{names}"],
            cwd=self._tree,
            # Python would take the module without the fault for that with it, if both have one
            # length and are of one second.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as running:
            try:
                out, _ = running.communicate(timeout=self.patience)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                return None, ""
        return running.returncode, out


def named(out: str, outcome: str, tests: list[str]) -> list[str]:
    """Return which tests the summary of pytest names with an outcome."""
    begun = [line.removeprefix(f"{outcome} ") for line in out.splitlines() if outcome in line]
    return [
        one for one in tests if any(line == one or line.startswith(f"{one} - ") for line in begun)
    ]


def main() -> None:
    """Read the arguments, try the sample, and print a line for each fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--packages", nargs="+", default=PACKAGES, metavar="FOLDER")
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS_OF_TESTS, help="of tests for each fault"
    )
    parser.add_argument("--again", action="store_true", help="with what was recorded before")
    chosen = parser.parse_args()
    if not chosen.again:
        Suite.record()
    suite = Suite()
    files = [path for package in chosen.packages for path in sorted((ROOT / package).rglob("*.py"))]
    everything = [mutant for path in files for mutant in mutants(path)]
    sample = random.Random(chosen.seed).sample(everything, chosen.number)
    copies: SimpleQueue[Copy] = SimpleQueue()
    for number in range(chosen.jobs):
        copies.put(Copy(copied(KEPT / f"tree{number}"), chosen.seconds))

    def attempt(mutant: Mutant) -> str:
        copy = copies.get()
        verdict = copy.tried(mutant, suite.reaching(mutant, chosen.seconds))
        copies.put(copy)
        print(f"{mutant}\n    {verdict.kind}: {verdict.sentence}", flush=True)
        return verdict.kind

    with ThreadPoolExecutor(chosen.jobs) as threads:
        kinds = Counter(threads.map(attempt, sample))
    print(f"{kinds['found']} of {len(sample)} found, of {len(everything)} that could be made")
    for kind in KINDS[1:]:
        print(f"{kinds[kind]} {kind}")


if __name__ == "__main__":
    main()
