"""The table of docs/security.md: whatever is promised there has a test, by its name."""

from __future__ import annotations

import ast
import re

from tests.service import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
ROWS = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")][1:]
NOT_YET = {"there are no webhooks yet"}


def test_every_row_has_a_test() -> None:
    for what, happens, tests in ROWS:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
        assert named or happens.strip() in NOT_YET, what
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text())
            functions = {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
            assert name in functions, f"{what}: {file}::{name}"
