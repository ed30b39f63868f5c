"""Nothing that is written stays in a drawer."""

from __future__ import annotations

from mailer.config import TEMPLATES
from tests.letters.exhibits import exhibits


def test_every_letter_is_on_show() -> None:
    folders = {path.name for path in (TEMPLATES / "emails").iterdir() if path.is_dir()}
    assert {exhibit.kind for exhibit in exhibits()} == folders
