"""Somebody who looks over a visitor's shoulder, and misses nothing of what a browser is given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

from tests.axe import barriers

_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@dataclass(frozen=True)
class Manner:
    """How somebody browses."""

    locale: str = "nb"
    width: int = 1280
    javascript: bool = True

    def __str__(self) -> str:
        """Name it, also as a part of a file's name."""
        return f"{self.locale}-{self.width}-{'scripts' if self.javascript else 'no-scripts'}"


class Spectator:
    """Sees each page as it is, and notes what nobody may have caused: messages, other hosts."""

    def __init__(self, page: Page, manner: Manner, url: str, folder: Path) -> None:
        self.page = page
        self.manner = manner
        self.noted: list[str] = []
        self._asked = ""
        self._host = urlsplit(url).netloc
        self._folder = folder
        self._sources: dict[str, str] = {}
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.noted.append(str(error)))
        page.on("request", self._follow)
        page.on("response", self._keep)

    @classmethod
    @contextmanager
    def beside(cls, browser: Browser, manner: Manner, url: str, folder: Path) -> Iterator[Self]:
        """Open a browser for somebody without a past, and look on."""
        with browser.new_context(
            viewport={"width": manner.width, "height": 800},
            locale=manner.locale,
            java_script_enabled=manner.javascript,
        ) as context:
            yield cls(context.new_page(), manner, url, folder)

    def look(self, name: str) -> None:
        """See that a page can be used by everybody, light and dark; its source is kept."""
        page = self.page
        assert page.locator("html").get_attribute("lang") == self.manner.locale
        assert page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        ), f"{name} is wider than the screen"
        for scheme in _SCHEMES:
            page.emulate_media(color_scheme=scheme)
            if self.manner.javascript:
                assert barriers(page) == [], f"{name}, {scheme}"
            self._show(f"{name}-{self.manner}-{scheme}")
        source = self._sources.get(page.url.partition("#")[0])
        assert source is not None, f"{page.url} came from nowhere"
        (self._folder / f"{name}-{self.manner}.html").write_text(source)
        assert not self.noted, "\n".join(self.noted)

    def _hear(self, message: ConsoleMessage) -> None:
        # A page that says what is wrong has a status of its own, which Chromium finds worth a line.
        if message.location["url"] != self._asked:
            self.noted.append(f"{message.type}: {message.text}")

    def _follow(self, request: Request) -> None:
        if request.is_navigation_request():
            self._asked = request.url
        if urlsplit(request.url).netloc != self._host:
            self.noted.append(f"asked another host: {request.url}")

    def _keep(self, response: Response) -> None:
        if response.request.resource_type == "document" and not 300 <= response.status < 400:
            self._sources[response.url.partition("#")[0]] = response.text()

    def _show(self, name: str) -> None:
        """Hang a picture where `make gallery` wants them."""
        if gallery := os.environ.get("GALLERY"):
            self.page.screenshot(path=Path(gallery) / f"{name}.png", full_page=True)
