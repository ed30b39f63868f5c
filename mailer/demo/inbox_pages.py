"""The pages of the inbox, and the fictitious museum's web site where the links of letters lead."""

from __future__ import annotations

import logging
import socket
import threading

from flask import Flask, abort, render_template, request
from werkzeug.serving import make_server

from mailer.demo import samples
from mailer.demo.inbox import Inbox


def serve(inbox: Inbox, listener: socket.socket) -> None:
    """Serve the pages from a thread, on a socket that listens already."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = listener.getsockname()
    server = make_server(host, port, _app(inbox), threaded=True, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _app(inbox: Inbox) -> Flask:
    app = Flask(__name__, "/site/files", samples.FOLDER, template_folder="pages")
    # A foreign host name that resolves to loopback is how web sites read what is served there.
    app.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost"]

    @app.get("/")
    def overview() -> str:
        recipient = request.args.get("to")
        mails = inbox.mails_to(recipient) if recipient else inbox.mails
        return render_template("inbox.html", mails=mails[::-1], recipient=recipient)

    @app.get("/mails/<int:number>")
    @app.get("/mails/<int:number>/<any(html, text, source):view>")
    def mail(number: int, view: str = "html") -> str:
        mails = inbox.mails
        [mail] = mails[number - 1 : number] or abort(404)
        return render_template("mail.html", mail=mail, view=view, last=len(mails))

    @app.get("/site/")
    @app.get("/site/<reference>")
    def site(reference: str = "") -> str:
        releases = [samples.read(file) for file in (samples.RELEASE, samples.FOLLOW_UP)]
        stories = [samples.placed(release, f"{request.host_url}site") for release in releases]
        found = [story for story in stories if reference in ("", story["reference"])]
        return render_template("site.html", stories=found or abort(404))

    return app
