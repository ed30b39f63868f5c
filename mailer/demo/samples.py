"""The releases that the demo publishes: those of a fictitious museum, or one from a file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailer.domain.releases.release_body import ReleaseBody
from mailer.errors import InvalidInput

FOLDER = Path(__file__).with_name("sample")
RELEASE = FOLDER / "release.json"
FOLLOWERS = FOLDER / "followers.csv"
FOLLOW_UP = FOLDER / "follow-up.json"
SLUG = "vindvik-kystmuseum"
NAME = "Vindvik kystmuseum"
FROM = "presse@example.org"

_DELAYING = {"notify", "hold_minutes"}
_NOT_SHOWN = {"reference", "language", "body_html", "note", "published_at"}

Release = dict[str, Any]


def read(file: Path = RELEASE) -> Release:
    """Return the release of a file; raises InvalidInput if it cannot be published."""
    try:
        release: Release = json.loads(file.read_text(encoding="utf-8"))
        ReleaseBody.read(placed(release, "https://example.org"))
    except InvalidInput as error:
        problems = {f"{file} {field}".strip(): text for field, text in error.problems.items()}
        raise InvalidInput(problems) from None
    except (OSError, ValueError) as error:
        raise InvalidInput({str(file): f"This is not JSON in UTF-8: {error}"}) from None
    return release


def placed(release: Release, site_url: str) -> Release:
    """Return a release whose links lead to the web site at this address."""
    placed_release: Release = json.loads(json.dumps(release).replace("{site}", site_url))
    return placed_release


def news(release: Release, site_url: str) -> Release:
    """Return a release that is mailed at once: placed, dated now, not held back."""
    sent = {name: value for name, value in release.items() if name not in _DELAYING}
    return placed(sent, site_url) | {"published_at": datetime.now(UTC).isoformat()}


def texts(value: Any) -> list[str]:
    """Return every text and link of a release that its letters show, without its body."""
    if isinstance(value, dict):
        value = [part for name, part in value.items() if name not in _NOT_SHOWN]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []
