"""The tables; what a row means, and which constraints keep it true."""

from __future__ import annotations

from mailer.storage.models.base import Base
from mailer.storage.models.people import (
    ApiKey,
    Consent,
    Erased,
    OutboxLetter,
    Publisher,
    Subscriber,
    Subscription,
)
from mailer.storage.models.releases import Batch, BatchMembers, Letter, Outcome, Release, Uncertain

__all__ = [
    "ApiKey",
    "Base",
    "Batch",
    "BatchMembers",
    "Consent",
    "Erased",
    "Letter",
    "OutboxLetter",
    "Outcome",
    "Publisher",
    "Release",
    "Subscriber",
    "Subscription",
    "Uncertain",
]
