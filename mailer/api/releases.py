"""API calls that publish, stop, correct and retract releases, and report on them."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, current_app, jsonify, request, url_for
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from mailer.api import api
from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.publishers import press_room_of
from mailer.domain.releases import lifecycle, previews, publishing, receipts
from mailer.domain.releases.release_body import ReleaseBody, Retraction
from mailer.errors import InvalidInput
from mailer.storage.models import Publisher, Release

LARGEST_RELEASE = 2 * 1024 * 1024


@api.post("/releases")
def publish() -> tuple[Response, int]:
    """Accept a release; the same content sent again gets the same answer."""
    publisher = _publisher("publish")
    body = ReleaseBody.read(_json())
    release = publishing.publish(_settings(), publisher, body)
    return jsonify(_described(release, release.initial_state)), 202


@api.post("/releases/preview")
def preview() -> Response:
    """Show a release as a recipient would get it; nothing is stored, nothing is sent."""
    publisher = _publisher("publish")
    base_url = _settings().base_url
    body = ReleaseBody.read(_json())
    shown = previews.preview(press_room_of(publisher, base_url), base_url, body)
    return jsonify(shown.as_json())


@api.get("/releases/<int:release_id>")
def progress(release_id: int) -> Response:
    """Return the state of a release, its dates and its counts so far."""
    publisher = _publisher("read")
    release = lifecycle.find(publisher, release_id)
    receipt = receipts.receipt(publisher, release_id)
    return jsonify(
        **_described(release, receipt.state),
        published_at=release.published_at.isoformat(),
        starts_at=release.starts_at.isoformat(),
        finished_at=release.finished_at and release.finished_at.isoformat(),
        paused_because=release.paused_because,
        replaced_by=lifecycle.successor(release),
        total=receipt.total,
        accepted=receipt.accepted,
    )


@api.get("/releases/<int:release_id>/receipt")
def receipt(release_id: int) -> Response:
    """Return the receipt of a release: the balanced account of its recipients."""
    return jsonify(receipts.receipt(_publisher("read"), release_id).as_json())


@api.get("/releases/<int:release_id>/recipients")
def recipient(release_id: int) -> Response:
    """Return what happened to one recipient of a release."""
    publisher = _publisher("read")
    address = request.args.get("address")
    if not address:
        raise InvalidInput({"address": "Ask for one address: ?address=somebody@example.org."})
    return jsonify(receipts.recipient(publisher, release_id, address))


@api.post("/releases/<int:release_id>/stop")
def stop(release_id: int) -> Response:
    """Cancel a release that has not started, or end one that is being sent."""
    release = lifecycle.stop(_publisher("publish"), release_id)
    return jsonify(_described(release, release.state))


@api.post("/releases/<int:release_id>/resume")
def resume(release_id: int) -> Response:
    """Send a held release now, or go on with a paused one."""
    release = lifecycle.resume(_settings(), _publisher("publish"), release_id)
    return jsonify(_described(release, release.state))


@api.post("/releases/<int:release_id>/correct")
def correct(release_id: int) -> tuple[Response, int]:
    """Replace a release by a better version; the same content sent again gets the same answer."""
    publisher = _publisher("publish")
    body = ReleaseBody.read(_json())
    release = publishing.correct(_settings(), publisher, release_id, body)
    return jsonify(_described(release, release.initial_state)), 202


@api.post("/releases/<int:release_id>/retract")
def retract(release_id: int) -> tuple[Response, int]:
    """Retract a release; the body is empty, or gives the reason: {"note": "…"}."""
    publisher = _publisher("publish")
    retraction = Retraction.read(_json()) if _octets() else Retraction()
    release = publishing.retract(_settings(), publisher, release_id, retraction)
    return jsonify(_described(release, release.initial_state)), 202


def _publisher(scope: publishers.Scope) -> Publisher:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return publishers.authenticate(key.strip() if scheme.lower() == "bearer" else None, scope)


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


def _json() -> Any:
    """Return the body as JSON, not yet validated; raises 413, 415 or 400."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send the release as application/json.")
    try:
        return json.loads(_octets().decode("utf-8"), parse_constant=_not_a_number)
    except (ValueError, RecursionError):
        raise BadRequest("This is not valid JSON in UTF-8.") from None


def _octets() -> bytes:
    """Return the body, also of a chunked request without Content-Length; raises 413."""
    request.max_content_length = LARGEST_RELEASE
    return request.get_data()


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _described(release: Release, state: str) -> dict[str, Any]:
    itself = url_for("api.progress", release_id=release.id)
    return {
        "id": release.id,
        "reference": release.reference,
        "version": release.version,
        "letter": release.letter,
        "replaces": release.replaces_id,
        "state": state,
        "links": {
            "self": itself,
            "receipt": f"{itself}/receipt",
            "recipients": f"{itself}/recipients",
            "stop": f"{itself}/stop",
            "resume": f"{itself}/resume",
            "correct": f"{itself}/correct",
            "retract": f"{itself}/retract",
        },
    }
