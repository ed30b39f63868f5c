"""Reading: a release as visitors see it, between the version before it and the newest."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from mailer.domain.clock import now
from mailer.domain.content import ReleaseBody
from mailer.domain.publishers import by_slug
from mailer.domain.releases import by_id
from mailer.errors import NotFound
from mailer.storage.database import reading
from mailer.storage.models import Publisher, Release

_NEWER = aliased(Release)


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a release that may be read, and its neighbours that may be read too."""

    publisher: Publisher
    release: Release
    body: ReleaseBody
    before: Release | None
    newest: Release | None
    """What is in its place now, if it is not the newest itself."""


def read(slug: str, release_id: int) -> Published:
    """Return a version of a release to show; raises NotFound, also before its moment has come."""
    with reading() as session:
        publisher = by_slug(session, slug)
        release = by_id(session, publisher, release_id)
        if not _public(session, release):
            raise NotFound(f"There is no release {release_id} here.")
        before = release.replaces_id and session.get_one(Release, release.replaces_id)
        return Published(
            publisher=publisher,
            release=release,
            body=ReleaseBody.model_validate(release.content),
            before=before if before and _public(session, before) else None,
            newest=_newest(session, release),
        )


def latest(publisher: Publisher) -> Release | None:
    """Return the newest release of a press room that stands as it is, if there is one."""
    with reading() as session:
        return session.scalar(
            select(Release)
            .where(
                Release.publisher_id == publisher.id,
                Release.letter != "retraction",
                ~exists().where(_NEWER.replaces_id == Release.id),
                is_public(),
            )
            .order_by(Release.published_at.desc(), Release.id.desc())
            .limit(1)
        )


def is_public() -> ColumnElement[bool]:
    """Say of a release that its moment has come, and that nobody stopped it before."""
    return and_(
        Release.published_at <= now(),
        Release.state.not_in(("scheduled", "held")),
        or_(Release.state != "stopped", Release.frozen_at.is_not(None)),
    )


def _public(session: Session, release: Release) -> bool:
    found = session.scalar(select(Release.id).where(Release.id == release.id, is_public()))
    return found is not None


def _newest(session: Session, release: Release) -> Release | None:
    return session.scalar(
        select(Release)
        .where(
            Release.publisher_id == release.publisher_id,
            Release.reference == release.reference,
            Release.version > release.version,
            is_public(),
        )
        .order_by(Release.version.desc())
        .limit(1)
    )
