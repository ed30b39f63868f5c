"""The keys that signed links and hashed erased addresses: a changed or lost one is noticed.

The database holds a fingerprint of each, which does not reveal it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.errors import Misconfigured
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Fingerprint
from mailer.storage.sql import insert
from mailer.storage.types import now

_LABEL = b"mailer: the fingerprint of a key"

log = logging.getLogger(__name__)


def missing_keys(settings: Settings) -> list[str]:
    """Return a sentence for each key that is missing or has changed; nothing is written.

    An unsubscribe link works for ever, so every key that ever signed has to be there.
    """
    present = {_fingerprint(key) for key in settings.secret_keys}
    known = select(Fingerprint).where(Fingerprint.purpose == "secret")
    with read_transaction() as session:
        missing = session.scalars(known.where(Fingerprint.sha256.not_in(present))).all()
        problem = _erasure_problem(session, settings.erasure_key)
    problems = [
        f"SECRET_KEYS: a key is missing that has signed links since {one.since:%Y-%m-%d}, and "
        "none of them works now. Put it back, behind the others."
        for one in missing
    ]
    return [*problems, problem] if problem is not None else problems


def tell_of_missing_keys(settings: Settings) -> None:
    """Note the key that signs as a process starts, and log what is wrong with the others."""
    with suppress(SQLAlchemyError):
        with transaction() as session:
            _note(session, "secret", _fingerprint(settings.secret_keys[0]))
        for problem in missing_keys(settings):
            log.error(problem)


def note_erasure_key(session: Session, key: str) -> None:
    """Note the key that hashes addresses; raises Misconfigured if another one did so before."""
    _note(session, "erasure", _fingerprint(key))
    if (problem := _erasure_problem(session, key)) is not None:
        raise Misconfigured(problem)


def _erasure_problem(session: Session, key: str | None) -> str | None:
    known = session.scalars(
        select(Fingerprint.sha256).where(Fingerprint.purpose == "erasure")
    ).all()
    if key is None or not set(known) - {_fingerprint(key)}:
        return None
    return (
        "MAILER_ERASURE_KEY: has changed, so that those who were forgotten are not recognised. "
        "Put the key back with which they were."
    )


def _note(session: Session, purpose: str, fingerprint: str) -> None:
    row = {"purpose": purpose, "sha256": fingerprint, "since": now()}
    session.execute(insert(session, Fingerprint).on_conflict_do_nothing(), row)


def _fingerprint(key: str) -> str:
    return hmac.digest(key.encode(), _LABEL, hashlib.sha256).hex()
