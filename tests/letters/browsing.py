"""A letter in a real browser: as wide as a screen, light or dark, with pictures or without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, Route

from mailer.demo import samples

_PICTURE = (Path(samples.FOLDER) / "solbris.jpg").read_bytes()
_LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="240" height="60" viewBox="0 0 240 60">'
    '<path d="M6 44h48l-8 10H14zM28 6v34H10zM32 12v28h16z" fill="#7a1f3d"/>'
    '<text x="66" y="39" font-family="Georgia, serif" font-size="24" fill="#1d1d1b">Vindvik</text>'
    "</svg>"
)


@dataclass(frozen=True)
class View:
    """How somebody looks at a letter."""

    name: str
    width: int = 800
    scheme: Literal["light", "dark"] = "light"
    pictures: bool = True


VIEWS = (
    View("desktop"),
    View("320", width=320),
    View("dark", scheme="dark"),
    View("pictures-off", pictures=False),
)


@contextmanager
def looking(browser: Browser, view: View) -> Iterator[Page]:
    """Give a page that is looked at in this way; nothing is asked of any network."""
    with browser.new_context(
        viewport={"width": view.width, "height": 700}, color_scheme=view.scheme
    ) as context:
        context.route("**/*", _hung if view.pictures else _left_out)
        yield context.new_page()


def _left_out(route: Route) -> None:
    route.abort()


def _hung(route: Route) -> None:
    """Hang a picture of ours wherever one is asked for."""
    if route.request.url.endswith("/logo.png"):
        route.fulfill(body=_LOGO, content_type="image/svg+xml")
    else:
        route.fulfill(body=_PICTURE, content_type="image/jpeg")
