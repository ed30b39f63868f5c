"""A release as it is stored: read whichever version of this service wrote it, and not judged again.

`ReleaseBody` says what may be accepted today. What was accepted once is sent, shown and retracted
also after a deploy, a rollback or a rule that has become stricter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mailer.errors import NotFound
from mailer.mail.content import Headline, Story
from mailer.storage.models import Release

_STORY = TypeAdapter(Story)
_NEEDED = frozenset({"language", "title", "body_html"})


def story_of(release: Release, latest: Sequence[Headline] = ()) -> Story:
    """Return a release as its readers see it; its HTML was sanitised before it was stored.

    `latest` are other releases that the letter names. Raises NotFound if language, title or text
    cannot be read; any other field is left out then.
    """
    try:
        return read_story(_fields(release), published(release), latest)
    except ValidationError:
        raise NotFound(f"What is stored of release {release.id} cannot be read.") from None


def read_story(
    content: Mapping[str, Any], published_at: datetime, latest: Sequence[Headline] = ()
) -> Story:
    """Make a story of stored fields, as `story_of` does; raises ValidationError."""
    given = {**content, "published_at": published_at, "latest": tuple(latest)}
    try:
        return _STORY.validate_python(given)
    except ValidationError as error:
        unreadable = {problem["loc"][0] for problem in error.errors(include_url=False)}
        if unreadable & _NEEDED:
            raise
        return _STORY.validate_python({k: v for k, v in given.items() if k not in unreadable})


def title_of(release: Release) -> str:
    """Return the title of a release; empty if it has none that can be read."""
    title = _fields(release).get("title")
    return title if isinstance(title, str) else ""


def published(release: Release) -> datetime:
    """Return the moment of publication in the time zone that the press room wrote it in."""
    try:
        written = datetime.fromisoformat(_fields(release)["published_at"])
    except (KeyError, TypeError, ValueError):
        return release.published_at
    return written if written.tzinfo else release.published_at


def _fields(release: Release) -> Mapping[str, Any]:
    content: Any = release.content
    return content if isinstance(content, dict) else {}
