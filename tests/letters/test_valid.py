"""Every letter is valid HTML, but for what old mail clients need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailer.mail.locales import available
from tests.letters.exhibits import exhibits
from tests.validator import problems

# Outlook on Windows lays tables out by these, and knows little of what took their place.
FOR_OUTLOOK = re.compile('no-deprecated-attr: .*"(align|bgcolor|cellpadding|cellspacing|width)"')


@pytest.mark.parametrize("locale", available())
def test_every_letter_is_valid(tmp_path: Path, locale: str) -> None:
    for exhibit in exhibits():
        (tmp_path / f"{exhibit.name}.html").write_text(exhibit.html(locale))
    assert [found for found in problems(tmp_path) if not FOR_OUTLOOK.search(found)] == []


def test_the_validator_is_not_asleep(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<!doctype html><html><p><table></p></html>")
    assert problems(tmp_path)
