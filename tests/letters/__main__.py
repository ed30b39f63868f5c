"""`make gallery`: every letter as a real browser shows it, on one page to look through."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Browser

from mailer.mail.locales import available
from tests.browsers import chromium
from tests.letters.browsing import VIEWS, View, looking
from tests.letters.exhibits import exhibits

FOLDER = Path(__file__).parents[2] / "gallery"

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Letters</title>
<style>
body { font: 16px/1.4 sans-serif; margin: 2rem; background: #ddd; }
div { display: flex; gap: 1rem; align-items: flex-start; overflow-x: auto; }
figure { margin: 0; } img { max-height: 40rem; border: 1px solid #999; }
</style>
<h1>Letters</h1>
"""


def main() -> None:
    """Render everything anew into the folder, and say where it is."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    letters = {
        f"{exhibit.name}-{locale}": exhibit.html(locale)
        for exhibit in exhibits()
        for locale in available()
    }
    with chromium() as browser:
        for view in VIEWS:
            _take_pictures(browser, view, letters)
    for name, html in letters.items():
        (FOLDER / f"{name}.html").write_text(html)
    (FOLDER / "index.html").write_text(_PAGE + "\n".join(map(_shown, letters)))
    print(FOLDER / "index.html")


def _take_pictures(browser: Browser, view: View, letters: Mapping[str, str]) -> None:
    """Take a picture of each whole letter."""
    with looking(browser, view) as page:
        for name, html in letters.items():
            page.set_content(html, wait_until="load")
            page.screenshot(path=FOLDER / f"{name}-{view.name}.png", full_page=True)


def _shown(name: str) -> str:
    """Return how the page shows one letter, in every view."""
    pictures = [
        f'<figure><a href="{name}-{view.name}.png"><img src="{name}-{view.name}.png" alt="" '
        f'loading="lazy"></a><figcaption>{view.name}</figcaption></figure>'
        for view in VIEWS
    ]
    return f'<h2><a href="{name}.html">{name}</a></h2>\n<div>{"".join(pictures)}</div>'


if __name__ == "__main__":
    main()
