"""Publishing: accept a release once, correct it with a new version, or retract it."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.releases import composition
from mailer.domain.releases.lifecycle import find, finish_if_complete, initial_state, locked_for
from mailer.domain.releases.release_body import ReleaseBody, Retraction, digest
from mailer.errors import Conflict, InvalidInput, PublishedAlready, ReferenceTaken
from mailer.mail.addresses import domain
from mailer.storage.database import identity, transaction
from mailer.storage.models import Publisher, Release, ReleaseKind
from mailer.storage.queues import wake
from mailer.storage.sql import insert
from mailer.storage.types import now

NEWS_FOR = timedelta(days=2)
"""A first version dated further back than this is published, but not mailed."""
_TWIN_FOR = timedelta(days=7)
_KEY_OCTETS = 32


def publish(settings: Settings, publisher: Publisher, body: ReleaseBody) -> Release:
    """Accept a release once; a repeated call with the same content returns the same release.

    Raises ReferenceTaken if the reference belongs to other content, PublishedAlready if the same
    content has another reference, InvalidInput for a note, NotComposed and Busy.
    """
    if body.note is not None:
        raise InvalidInput({"note": "Only a correction has a note: nobody has a version before."})
    row = _row(publisher, body)
    mails = body.notify and row["published_at"] > row["created_at"] - NEWS_FOR
    row["story_sha256"] = body.story_sha256() if mails else None
    letters = composition.compose(settings, Release(**row)) if mails else {}
    with transaction() as session:
        if mails and not body.again:
            _refuse_twin(session, row)
        session.execute(
            insert(session, Release)
            .values(row | _beginning(session, row, mails=mails))
            .on_conflict_do_nothing(index_elements=["publisher_id", "reference", "version"])
        )
        release = session.scalars(
            select(Release).where(
                Release.publisher_id == publisher.id,
                Release.reference == body.reference,
                Release.version == 1,
            )
        ).one()
        if release.finished_at is None and release.body_sha256 == row["body_sha256"]:
            composition.keep(session, release.id, letters)
    if release.body_sha256 != row["body_sha256"]:
        raise ReferenceTaken(body.reference, release.id)
    wake(settings.redis_url, "releases")
    return release


def correct(
    settings: Settings, publisher: Publisher, release_id: int, body: ReleaseBody
) -> Release:
    """Replace a release by a new version; a repeated call with the same content returns the same.

    The old version is stopped. Recipients who have it get the correction, and those still waiting
    get the new version as a release; with `notify` false, no recipient does. Raises NotFound,
    InvalidInput for another reference, Conflict if the release is a retraction or another version
    has replaced it already, NotComposed and Busy.
    """
    old = find(publisher, release_id)
    if body.reference != old.reference:
        raise InvalidInput({"reference": f"A correction keeps its reference: {old.reference}."})
    row = _row(publisher, body, old)
    letters = composition.compose(settings, Release(**row)) if body.notify else {}
    with transaction() as session:
        old = locked_for(session, publisher, release_id)
        new = _replace(session, old, row, notify=body.notify)
        if new.finished_at is None:
            composition.keep(session, new.id, letters)
    wake(settings.redis_url, "releases")
    return new


def retract(
    settings: Settings, publisher: Publisher, release_id: int, retraction: Retraction
) -> Release:
    """Retract a release, with a note that says why. Idempotent for the same note.

    The release is stopped, and recipients who have it get the retraction. Raises NotFound, and
    Conflict if it was corrected: retract its newest version then.
    """
    with transaction() as session:
        old = locked_for(session, publisher, release_id)
        # A retraction is sent at once, even if the release is still scheduled or held.
        at_once = {"notify": True, "published_at": None, "hold_minutes": 0}
        content = {**old.content, **at_once, "note": retraction.note}
        told = {"reference": old.reference, "body_sha256": digest(content), "content": content}
        new = _replace(session, old, told | _columns(publisher, old, "retraction"), notify=True)
    wake(settings.redis_url, "releases")
    return new


def _replace(session: Session, old: Release, row: dict[str, Any], *, notify: bool) -> Release:
    """Insert the next version once, and stop the one before; raises Conflict."""
    if old.letter == "retraction":
        raise Conflict(f"Release {old.id} takes back what was published: publish something new.")
    mails = notify and _is_mailed(session, old)
    session.execute(
        insert(session, Release)
        .values(row | _beginning(session, row, mails=mails))
        .on_conflict_do_nothing(index_elements=["replaces_id"])
    )
    new = session.scalars(select(Release).where(Release.replaces_id == old.id)).one()
    if not _says_the_same(new, row):
        raise Conflict(
            f"Release {new.id} is in the place of release {old.id} already, as its "
            f"{new.letter}. To change what is out now, correct or retract release {new.id}."
        )
    if old.finished_at is None:
        old.state = "stopping"
        session.flush()
        finish_if_complete(session, old.id)
    return new


def _says_the_same(release: Release, row: dict[str, Any]) -> bool:
    """Tell whether a version is what a call asks for again: its content, or why it is retracted."""
    if (release.letter, row["letter"]) == ("retraction", "retraction"):
        return bool(release.content.get("note") == row["content"]["note"])
    return (release.letter, release.body_sha256) == (row["letter"], row["body_sha256"])


def _is_mailed(session: Session, release: Release) -> bool:
    """Tell whether any version of a release so far is mailed to followers, or was to be."""
    mailed = exists().where(
        Release.publisher_id == release.publisher_id,
        Release.reference == release.reference,
        Release.initial_state != "done",
    )
    return bool(session.scalar(select(mailed)))


def _refuse_twin(session: Session, row: dict[str, Any]) -> None:
    """Raise PublishedAlready if a release of the last week is the same but for its reference.

    A publishing system that makes a new reference whenever it saves would mail everybody twice.
    The lock on the press room's row lets calls that come together see each other.
    """
    session.get_one(Publisher, row["publisher_id"], with_for_update={"key_share": True})
    twin = session.execute(
        select(Release.reference, Release.id)
        .where(
            Release.publisher_id == row["publisher_id"],
            Release.story_sha256 == row["story_sha256"],
            Release.reference != row["reference"],
            Release.version == 1,
            Release.created_at > row["created_at"] - _TWIN_FOR,
        )
        .limit(1)
    ).first()
    if twin is not None:
        raise PublishedAlready(twin.reference, twin.id)


def _row(
    publisher: Publisher, body: ReleaseBody, replaced: Release | None = None
) -> dict[str, Any]:
    """Return the columns of a version with a body: the first, or a correction."""
    letter: ReleaseKind = "correction" if replaced else "release"
    return {
        "reference": body.reference,
        "body_sha256": body.sha256(),
        "content": body.stored(),
        **_columns(publisher, replaced, letter, body.published_at, body.hold_minutes),
    }


def _columns(
    publisher: Publisher,
    replaced: Release | None,
    letter: ReleaseKind,
    published_at: datetime | None = None,
    hold_minutes: int | None = 0,
) -> dict[str, Any]:
    """Return the columns of a new version that its content does not say.

    Without a time it is published now; without minutes, it is held for the press room's. The key
    and domain of its Message-IDs never change later.
    """
    moment = now()
    published_at = published_at or moment
    hold = publisher.hold_minutes if hold_minutes is None else hold_minutes
    return {
        "publisher_id": publisher.id,
        "version": replaced.version + 1 if replaced else 1,
        "letter": letter,
        "replaces_id": replaced and replaced.id,
        "created_at": moment,
        "published_at": published_at,
        "starts_at": max(published_at, moment + timedelta(minutes=hold)),
        "message_key": secrets.token_bytes(_KEY_OCTETS),
        "message_domain": domain(publisher.from_address),
        "total": 0,
    }


def _beginning(session: Session, row: dict[str, Any], *, mails: bool) -> dict[str, Any]:
    """Return the columns that say how a new version begins."""
    times = (row["created_at"], row["published_at"], row["starts_at"])
    state = initial_state(*times) if mails else "done"
    return {
        "state": state,
        "first_state": state,
        "finished_at": None if mails else row["created_at"],
        "kept_in": identity(session.connection()),
    }
