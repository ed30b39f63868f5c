"""The tables: what a row means, and which constraints hold for it."""

from __future__ import annotations

from mailer.storage.models.base import Base
from mailer.storage.models.people import (
    ApiKey,
    Consent,
    Erased,
    OutboxMessage,
    Publisher,
    Subscriber,
    Subscription,
)
from mailer.storage.models.releases import (
    Alert,
    Batch,
    BatchMembers,
    ComposedLetter,
    Outcome,
    PastOutcome,
    RelayState,
    Release,
    ReleaseKind,
    Uncertain,
)

__all__ = [
    "Alert",
    "ApiKey",
    "Base",
    "Batch",
    "BatchMembers",
    "ComposedLetter",
    "Consent",
    "Erased",
    "OutboxMessage",
    "Outcome",
    "PastOutcome",
    "Publisher",
    "RelayState",
    "Release",
    "ReleaseKind",
    "Subscriber",
    "Subscription",
    "Uncertain",
]
