"""Signed notes of who has left, come back or was erased, which outlive the database.

When an older copy of the database is put back, what was noted since is done once more, in its
order. A note names a subscription by its id and nonce, so that a row that the copy gives out again
is another one's; no address is in it.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Literal, NamedTuple, cast

from itsdangerous import BadSignature, Signer
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.storage import generation, witnesses
from mailer.storage.database import after_commit
from mailer.storage.models import Subscription

Act = Literal["left", "returned", "erased"]


class Note(NamedTuple):
    """What was done to a subscription, and the number of the generation that came of it."""

    number: int
    act: Act
    subscription_id: int
    nonce: int
    """0 for a row from before there were nonces."""


def note(session: Session, settings: Settings, act: Act, *subscriptions: Subscription) -> None:
    """Let every witness know what is done to subscriptions, once this transaction is committed.

    A copy that has not got a name of its own yet says nothing in the name of its original.
    """
    raised = generation.raise_number(session)
    if not raised.here:
        return
    written = [
        _signer(settings)
        .sign(f"{raised.name}:{raised.number}:{act}:{one.id}:{one.nonce or 0}")
        .decode()
        for one in subscriptions
    ]
    after_commit(session, partial(witnesses.tell, settings, raised, *written))


def noted_above(settings: Settings, name: str, number: int) -> list[Note]:
    """Return what was noted of a name above a number, oldest first."""
    found = (_read(settings, name, text) for text in witnesses.notes(settings, name))
    return sorted(one for one in found if one is not None and one.number > number)


def _read(settings: Settings, name: str, text: str) -> Note | None:
    """Return what a note says, None if it is not ours, or of another database."""
    try:
        of, number, act, subscription_id, nonce = _signer(settings).unsign(text).decode().split(":")
    except (BadSignature, ValueError):
        return None
    if of != name:
        return None
    return Note(int(number), cast("Act", act), int(subscription_id), int(nonce))


def _signer(settings: Settings) -> Signer:
    keys = settings.secret_keys[::-1]
    return Signer(keys, salt="way out", key_derivation="hmac", digest_method=hashlib.sha256)
