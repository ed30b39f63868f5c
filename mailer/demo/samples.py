"""The releases that are played: a press room and a story of our own, or somebody's file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailer.domain.releases.release_body import ReleaseBody
from mailer.errors import InvalidInput

FOLDER = Path(__file__).with_name("sample")
SLUG = "vindvik-kystmuseum"
NAME = "Vindvik kystmuseum"
FROM = "presse@example.org"

_SITE = "{site}"
_ANYWHERE = "https://example.org"
_HOLDS_BACK = {"notify", "hold_minutes"}

Release = dict[str, Any]


def read(file: Path | None = None) -> Release:
    """Return our own release or that of a file; raises InvalidInput if it cannot be published."""
    file = file or FOLDER / "release.json"
    try:
        release: Release = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sentence = f"{file} cannot be read as JSON in UTF-8: {error}"
        raise InvalidInput({"file": sentence}) from None
    try:
        ReleaseBody.read(placed(release, _ANYWHERE))
    except InvalidInput as error:
        problems = {
            name: f"{file}: {name}: {what}" if name else f"{file}: {what}"
            for name, what in error.problems.items()
        }
        raise InvalidInput(problems) from None
    return release


def follow_up() -> Release:
    """Return the short release that goes out after some have left."""
    return read(FOLDER / "follow-up.json")


def placed(release: Release, site_url: str) -> Release:
    """Return a release whose links lead to the site that serves our picture and document."""
    placed_release: Release = json.loads(json.dumps(release).replace(_SITE, site_url))
    return placed_release


def news(release: Release, site_url: str) -> Release:
    """Return a release as its press room sends it: dated now, so that it goes out at once."""
    kept = {name: value for name, value in release.items() if name not in _HOLDS_BACK}
    return placed(kept, site_url) | {"published_at": datetime.now(UTC).isoformat()}
