"""The inbox as a web page: who got what, each mail as HTML, as text and as it came."""

from __future__ import annotations

import re
import socket
import threading
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, abort, render_template, request
from werkzeug.serving import WSGIRequestHandler, make_server

from mailer.demo.inbox import Inbox, Mail
from mailer.demo.site import site

_LOOPBACK = "127.0.0.1"
_WANTED_PORT = 8025
_VIEWS = ("html", "text", "source")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A letter is somebody else's HTML: it may show itself and open links, and run nothing.
_LETTER_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src * data:; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
_HEAD = re.compile(r"<head[^>]*>", re.IGNORECASE)


class InboxPage:
    """Serves the inbox, and the web site of the sample's press room, from a thread."""

    def __init__(self, inbox: Inbox) -> None:
        listening = _listen()
        port: int = listening.getsockname()[1]
        self.url = f"http://{_LOOPBACK}:{port}"
        self._server = make_server(
            _LOOPBACK,
            port,
            _app(inbox),
            threaded=True,
            request_handler=_QuietHandler,
            fd=listening.detach(),
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="inbox page", daemon=True
        )

    @property
    def site_url(self) -> str:
        """The web site of the sample's press room."""
        return f"{self.url}/site"

    def link(self, mail: Mail) -> str:
        """Return where one mail is shown."""
        return f"{self.url}/mails/{mail.number}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _QuietHandler(WSGIRequestHandler):
    """Leaves the terminal to the story."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


def _listen() -> socket.socket:
    try:
        return socket.create_server((_LOOPBACK, _WANTED_PORT))
    except OSError:
        return socket.create_server((_LOOPBACK, 0))


def _app(inbox: Inbox) -> Flask:
    app = Flask(__name__, template_folder="pages", static_folder="pages", static_url_path="/look")
    # A name of somebody else's that leads here is how web sites read what is on loopback.
    app.config["TRUSTED_HOSTS"] = [_LOOPBACK, "localhost"]
    app.register_blueprint(site)

    @app.get("/")
    def overview() -> str:
        recipient = request.args.get("to")
        mails = list(reversed(inbox.mails(recipient)))
        return render_template("inbox.html", mails=mails, recipient=recipient)

    @app.get("/mails/<int:number>")
    @app.get("/mails/<int:number>/<view>")
    def mail(number: int, view: str = "html") -> str:
        if view not in _VIEWS:
            abort(HTTPStatus.NOT_FOUND)
        return render_template(
            "mail.html", mail=_find(inbox, number), view=view, views=_VIEWS, last=_last(inbox)
        )

    @app.get("/letters/<int:number>")
    def letter(number: int) -> Response:
        response = Response(_opening_new_tabs(_find(inbox, number).html), mimetype="text/html")
        response.headers["Content-Security-Policy"] = _LETTER_POLICY
        return response

    @app.after_request
    def guard(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return app


def _find(inbox: Inbox, number: int) -> Mail:
    mails = inbox.mails()
    if not 1 <= number <= len(mails):
        abort(HTTPStatus.NOT_FOUND)
    return mails[number - 1]


def _last(inbox: Inbox) -> int:
    return len(inbox.mails())


def _opening_new_tabs(html: str) -> str:
    """Let the letter's links leave the frame they are shown in."""
    base = '<base target="_blank">'
    opened, found = _HEAD.subn(lambda head: head[0] + base, html, count=1)
    return opened if found else base + html
