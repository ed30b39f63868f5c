"""The addresses of a press room's pages, and how a test reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from html import unescape
from threading import Thread

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import TestResponse

from tests.support.press_room import SLUG

ROOM = f"/{SLUG}/"
FOLLOW = f"/{SLUG}/follow"
FORM = "application/x-www-form-urlencoded"


@contextmanager
def answering(app: Callable[..., Iterable[bytes]], port: int) -> Iterator[None]:
    """Let browsers reach an application, as long as the context lasts."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Silent)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


def text(response: TestResponse) -> str:
    """Return a page as it is read: entities, and what only keeps a line from breaking."""
    return plainly(unescape(response.get_data(as_text=True)))


def plainly(words: str) -> str:
    """Write hyphens and spaces at which no line breaks as the usual ones."""
    return words.replace("\u2011", "-").replace("\xa0", " ")
