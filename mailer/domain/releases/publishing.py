"""Publishing: a release accepted once, corrected by a better version, or taken back."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.releases.lifecycle import initial_state, locked_for, settle
from mailer.domain.releases.release_body import ReleaseBody
from mailer.errors import Conflict, InvalidInput, ReferenceTaken
from mailer.mail.addresses import domain
from mailer.storage.database import identity, insert, transaction
from mailer.storage.models import Publisher, Release, ReleaseKind
from mailer.storage.queues import wake
from mailer.storage.types import now

NEWS_FOR = timedelta(days=2)
"""A first version dated further back than this is for the record, and mails nobody."""
_KEY_OCTETS = 32


def publish(settings: Settings, publisher: Publisher, body: ReleaseBody) -> Release:
    """Accept a release once: the same content again is answered with the same release.

    Raises ReferenceTaken if the reference belongs to other content, InvalidInput for a note.
    """
    if body.note is not None:
        raise InvalidInput({"note": "Only a correction has a note: nobody has a version before."})
    moment = now()
    published_at = body.published(moment)
    mails = body.notify and published_at > moment - NEWS_FOR
    with transaction() as session:
        session.execute(
            insert(session, Release)
            .values(_row(session, publisher, body, moment, mails=mails))
            .on_conflict_do_nothing(index_elements=["publisher_id", "reference", "version"])
        )
        release = session.scalars(
            select(Release).where(
                Release.publisher_id == publisher.id,
                Release.reference == body.reference,
                Release.version == 1,
            )
        ).one()
    if release.body_sha256 != body.sha256():
        raise ReferenceTaken(body.reference, release.id)
    wake(settings.redis_url, "releases")
    return release


def correct(
    settings: Settings, publisher: Publisher, release_id: int, body: ReleaseBody
) -> Release:
    """Put a better version in the place of a release; the same again is answered with the same.

    Nothing more of the release itself is sent. Whoever has it gets the correction, whoever was
    still waiting gets the better version at once. Raises NotFound, InvalidInput for another
    reference, and Conflict if something else is in its place already.
    """
    with transaction() as session:
        old = locked_for(session, publisher, release_id)
        if body.reference != old.reference:
            raise InvalidInput({"reference": f"A correction keeps its reference: {old.reference}."})
        new = _replace(session, publisher, old, "correction", body)
    wake(settings.redis_url, "releases")
    return new


def retract(
    settings: Settings, publisher: Publisher, release_id: int, note: str | None = None
) -> Release:
    """Take a release back, with a note that says why; again is fine.

    Nothing more of it is sent, and whoever has it is told. Raises NotFound, InvalidInput for the
    note, and Conflict if it was corrected: then its newest version is the one to take back.
    """
    with transaction() as session:
        old = locked_for(session, publisher, release_id)
        # It takes effect at once, whenever the release itself was to go out.
        at_once = {"note": note, "published_at": None, "hold_minutes": 0}
        body = ReleaseBody.read({**old.content, **at_once})
        new = _replace(session, publisher, old, "retraction", body)
    wake(settings.redis_url, "releases")
    return new


def _replace(
    session: Session, publisher: Publisher, old: Release, letter: ReleaseKind, body: ReleaseBody
) -> Release:
    """Write the next version down once, and stop the one before."""
    if old.letter == "retraction":
        raise Conflict(f"Release {old.id} takes back what was published: publish something new.")
    row = _row(session, publisher, body, now(), mails=old.initial_state != "done")
    session.execute(
        insert(session, Release)
        .values({**row, "version": old.version + 1, "letter": letter, "replaces_id": old.id})
        .on_conflict_do_nothing(index_elements=["replaces_id"])
    )
    new = session.scalars(select(Release).where(Release.replaces_id == old.id)).one()
    if new.letter != letter or new.body_sha256 != body.sha256():
        raise Conflict(
            f"Release {new.id} is in the place of release {old.id} already, as its "
            f"{new.letter}. To change what is out now, correct or retract release {new.id}."
        )
    if old.finished_at is None:
        old.state = "stopping"
        session.flush()
        settle(session, old.id)
    return new


def _row(
    session: Session, publisher: Publisher, body: ReleaseBody, moment: datetime, *, mails: bool
) -> dict[str, Any]:
    """Lay out a new release; its Message-IDs and sender domain are settled here for ever."""
    published_at = body.published(moment)
    hold = publisher.hold_minutes if body.hold_minutes is None else body.hold_minutes
    starts_at = max(published_at, moment + timedelta(minutes=hold))
    state = initial_state(moment, published_at, starts_at) if mails else "done"
    return {
        "publisher_id": publisher.id,
        "reference": body.reference,
        "body_sha256": body.sha256(),
        "content": body.stored(),
        "state": state,
        "first_state": state,
        "created_at": moment,
        "published_at": published_at,
        "starts_at": starts_at,
        "finished_at": None if mails else moment,
        "kept_in": identity(session.connection()),
        "message_key": secrets.token_bytes(_KEY_OCTETS),
        "message_domain": domain(publisher.from_address),
        "total": 0,
    }
