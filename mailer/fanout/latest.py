"""The latest releases of a press room, as they were when one of them was frozen."""

from __future__ import annotations

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from mailer.domain.reading import published
from mailer.mail.letters import Headline
from mailer.storage.models import Release

_MOST = 4
_NEWER = aliased(Release)


def latest(session: Session, release: Release, room_url: str) -> tuple[Headline, ...]:
    """Return the newest other releases that were out when this one was frozen, as they then were.

    It asks for nothing that can change after that moment, so that every attempt at the release
    is the same message.
    """
    moment = release.frozen_at or release.starts_at
    mailed_nobody = and_(Release.first_state == "done", Release.created_at <= moment)
    found = session.scalars(
        select(Release)
        .where(
            Release.publisher_id == release.publisher_id,
            Release.reference != release.reference,
            Release.letter != "retraction",
            ~exists().where(_NEWER.replaces_id == Release.id, _NEWER.created_at <= moment),
            Release.published_at <= moment,
            or_(Release.frozen_at <= moment, mailed_nobody),
        )
        .order_by(Release.published_at.desc(), Release.id.desc())
        .limit(_MOST)
    )
    return tuple(
        Headline(
            title=other.content["title"],
            url=other.content.get("web_url") or f"{room_url}/{other.id}",
            published_at=published(other),
            language=other.content["language"],
        )
        for other in found
    )
