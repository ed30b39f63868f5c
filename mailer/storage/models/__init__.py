"""The tables: what a row means, and which constraints hold for it."""

from __future__ import annotations

from mailer.storage.models.base import Base as Base
from mailer.storage.models.generation import Generation as Generation
from mailer.storage.models.people import AddressChange as AddressChange
from mailer.storage.models.people import ApiKey as ApiKey
from mailer.storage.models.people import Consent as Consent
from mailer.storage.models.people import Erased as Erased
from mailer.storage.models.people import Fingerprint as Fingerprint
from mailer.storage.models.people import MovingSubscription as MovingSubscription
from mailer.storage.models.people import OutboxMessage as OutboxMessage
from mailer.storage.models.people import Publisher as Publisher
from mailer.storage.models.people import SignUp as SignUp
from mailer.storage.models.people import Subscriber as Subscriber
from mailer.storage.models.people import Subscription as Subscription
from mailer.storage.models.releases import Alert as Alert
from mailer.storage.models.releases import Batch as Batch
from mailer.storage.models.releases import BatchMembers as BatchMembers
from mailer.storage.models.releases import ComposedLetter as ComposedLetter
from mailer.storage.models.releases import Outcome as Outcome
from mailer.storage.models.releases import PastOutcome as PastOutcome
from mailer.storage.models.releases import RelayState as RelayState
from mailer.storage.models.releases import Release as Release
from mailer.storage.models.releases import ReleaseKind as ReleaseKind
from mailer.storage.models.releases import Uncertain as Uncertain
