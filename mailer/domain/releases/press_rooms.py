"""What visitors may read: a press room's releases, one version of a release, the sitemap.

Rows are read without their content, which only a page that is rendered needs: `stories` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session, aliased, defer

from mailer.domain.publishers import by_slug
from mailer.domain.releases.lifecycle import LARGEST_ID
from mailer.domain.releases.stored_release import story_of
from mailer.errors import NotFound
from mailer.mail.content import Story
from mailer.storage.database import read_transaction
from mailer.storage.models import Publisher, Release
from mailer.storage.types import now

_OTHERS = 4
_NEWER = aliased(Release)
_WITHOUT_CONTENT = select(Release).options(defer(Release.content, raiseload=True))


@dataclass(frozen=True, slots=True)
class Published:
    """A public version of a release, with other public versions and other releases."""

    publisher: Publisher
    release: Release
    before: Release | None
    newest: Release | None
    """The newest public version, None if `release` is the newest itself."""
    others: Sequence[Release]
    """The latest other releases of the press room, without retracted ones."""

    @property
    def withdrawn_at(self) -> datetime | None:
        """When the release was retracted, whichever version of it this is; None if it was not."""
        last = self.newest or self.release
        return changed_at(last) if last.letter == "retraction" else None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a press room's releases, newest first."""

    publisher: Publisher
    number: int
    releases: Sequence[Release]
    more: bool
    """Whether there are older releases, on further pages."""

    @property
    def changed_at(self) -> datetime:
        """When a listed release last changed; without any, when the press room was created."""
        return max(map(changed_at, self.releases), default=self.publisher.created_at)


@dataclass(frozen=True, slots=True)
class SitemapEntry:
    """A page in the sitemap: of a press room, or of one of its releases."""

    slug: str
    release_id: int | None
    changed_at: datetime


def read(slug: str, release_id: int) -> Published:
    """Return a public version of a release; raises NotFound, also before it is public."""
    with read_transaction() as session:
        publisher = by_slug(session, slug)
        release = _public(session, publisher, release_id)
        if release is None:
            raise NotFound(f"There is no release {release_id} here.")
        return Published(
            publisher=publisher,
            release=release,
            before=_public(session, publisher, release.replaces_id),
            newest=_newest(session, release),
            others=_others(session, publisher, release),
        )


def stories(releases: Iterable[Release]) -> dict[int, Story]:
    """Return releases as visitors read them, by id, without those that cannot be read."""
    ids = [release.id for release in releases]
    found = {}
    with read_transaction() as session:
        for release in session.scalars(select(Release).where(Release.id.in_(ids))):
            with suppress(NotFound):
                found[release.id] = story_of(release)
    return found


def latest(publisher: Publisher) -> Sequence[Release]:
    """Return the newest release of a press room that is not retracted; none if there is none."""
    with read_transaction() as session:
        releases = newest_first(publisher).where(Release.letter != "retraction")
        return session.scalars(releases.limit(1)).all()


def is_public(release: type[Release] = Release) -> ColumnElement[bool]:
    """Return the condition that a release is published, and was not stopped before it started."""
    return and_(
        # coalesce() keeps SQLite from using an index on time: it would scan that once for each
        # release, to see whether there is a newer version.
        func.coalesce(release.published_at, release.created_at) <= now(),
        release.state.not_in(("scheduled", "held")),
        or_(release.state != "stopped", release.frozen_at.is_not(None)),
    )


def is_newest() -> ColumnElement[bool]:
    """Return the condition that a release is public, and no newer version of it is."""
    return and_(
        is_public(),
        ~exists().where(
            _NEWER.publisher_id == Release.publisher_id,
            _NEWER.reference == Release.reference,
            _NEWER.version > Release.version,
            is_public(_NEWER),
        ),
    )


def newest_first(publisher: Publisher) -> Select[Release]:
    """Select the newest public version of each release of a press room, newest release first."""
    return _WITHOUT_CONTENT.where(Release.publisher_id == publisher.id, is_newest()).order_by(
        Release.published_at.desc(), Release.id.desc()
    )


def changed_at(release: Release) -> datetime:
    """Return when a version became public; a correction may keep the date of the one before."""
    return max(release.created_at, release.published_at, release.frozen_at or release.created_at)


def _public(session: Session, publisher: Publisher, release_id: int | None) -> Release | None:
    if release_id is None or release_id > LARGEST_ID:
        return None
    return session.scalar(
        _WITHOUT_CONTENT.where(
            Release.id == release_id, Release.publisher_id == publisher.id, is_public()
        )
    )


def _newest(session: Session, release: Release) -> Release | None:
    return session.scalar(
        _WITHOUT_CONTENT.where(
            Release.publisher_id == release.publisher_id,
            Release.reference == release.reference,
            Release.version > release.version,
            is_public(),
        )
        .order_by(Release.version.desc())
        .limit(1)
    )


def _others(session: Session, publisher: Publisher, release: Release) -> Sequence[Release]:
    others = newest_first(publisher).where(
        Release.reference != release.reference, Release.letter != "retraction"
    )
    return session.scalars(others.limit(_OTHERS)).all()


def page(slug: str, size: int, number: int = 1) -> Page:
    """Return a page of a press room's releases; `number` counts pages from 1.

    Raises NotFound, also for a page beyond the last.
    """
    with read_transaction() as session:
        publisher = by_slug(session, slug)
        some = newest_first(publisher).offset((number - 1) * size).limit(size + 1)
        found = session.scalars(some).all()
    if number > 1 and not found:
        raise NotFound(f"There is no page {number}.")
    return Page(publisher, number, found[:size], more=len(found) > size)


def sitemap_entries(number: int, size: int) -> Sequence[SitemapEntry]:
    """Return a part, counted from 1, of the sitemap: press rooms, and releases not retracted."""
    some = _entries().order_by("release_id", "slug").offset((number - 1) * size).limit(size)
    with read_transaction() as session:
        return [
            SitemapEntry(row.slug, row.release_id or None, row.changed_at)
            for row in session.execute(some)
        ]


def count_sitemap_entries() -> int:
    """Return the number of entries in the sitemap."""
    with read_transaction() as session:
        return session.scalars(select(func.count()).select_from(_entries().subquery())).one()


def _entries() -> CompoundSelect[Any]:
    came = case(
        (Release.created_at > Release.published_at, Release.created_at), else_=Release.published_at
    )
    return union_all(
        select(
            Publisher.slug,
            literal(0).label("release_id"),
            Publisher.created_at.label("changed_at"),
        ),
        select(Publisher.slug, Release.id, came)
        .join(Publisher, Publisher.id == Release.publisher_id)
        .where(is_newest(), Release.letter != "retraction"),
    )
