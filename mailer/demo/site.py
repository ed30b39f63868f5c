"""The web site of the sample's press room, which its letters link to: pages, picture, document."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, abort, render_template, request, send_from_directory

from mailer.demo import samples

site = Blueprint("site", __name__, url_prefix="/site")


@site.get("/")
def front() -> str:
    """List what the museum has written."""
    return render_template("site.html", stories=_stories(), story=None)


@site.get("/<reference>")
def story(reference: str) -> str:
    """Show one press release on the museum's own site."""
    found = [one for one in _stories() if one["reference"] == reference]
    if not found:
        abort(HTTPStatus.NOT_FOUND)
    return render_template("site.html", stories=(), story=found[0])


@site.get("/files/<name>")
def file(name: str) -> Response:
    """Serve the picture and the document."""
    if name.endswith(".json"):
        abort(HTTPStatus.NOT_FOUND)
    return send_from_directory(samples.FOLDER, name)


def _stories() -> list[samples.Release]:
    here = f"{request.host_url.rstrip('/')}{site.url_prefix}"
    return [samples.placed(one, here) for one in (samples.read(), samples.follow_up())]
