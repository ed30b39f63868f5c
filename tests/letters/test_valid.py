"""Every letter is valid HTML, but for what old mail clients need."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mailer.mail.locales import available
from tests.letters.exhibits import exhibits
from tests.letters.node import NODE
from tests.processes import PATIENCE_SECONDS
from tests.servers import find_program

VALIDATOR = NODE / "node_modules" / "html-validate" / "bin" / "html-validate.mjs"
# Outlook on Windows lays tables out by these, and knows little of what took their place.
FOR_OUTLOOK = {"align", "bgcolor", "cellpadding", "cellspacing", "width"}


def problems(folder: Path) -> list[str]:
    """Return what the validator says of the pages in a folder, a line each."""
    configuration = folder / "rules.json"
    configuration.write_text(json.dumps({"root": True, "extends": ["html-validate:standard"]}))
    pages, said = sorted(folder.glob("*.html")), folder / "said.json"
    options = ["--config", configuration, "--formatter", f"json={said}"]
    subprocess.run(
        [find_program("node"), *map(str, [VALIDATOR, *options, *pages])],
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return [
        f"{Path(page['filePath']).name}:{found['line']}: {found['ruleId']}: {found['message']}"
        for page in json.loads(said.read_text())
        for found in page["messages"]
        if not (
            found["ruleId"] == "no-deprecated-attr"
            and found["message"].split('"')[1] in FOR_OUTLOOK
        )
    ]


@pytest.mark.parametrize("locale", available())
def test_every_letter_is_valid(tmp_path: Path, locale: str) -> None:
    for exhibit in exhibits():
        (tmp_path / f"{exhibit.name}.html").write_text(exhibit.html(locale))
    assert problems(tmp_path) == []


def test_the_validator_is_not_asleep(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<!doctype html><html><p><table></p></html>")
    assert problems(tmp_path)
