"""Everything that can go wrong on purpose, as one tree.

MailerError
├── Misconfigured            a setting is missing or makes no sense
├── InvalidInput             a field holds what cannot be accepted
│   └── InvalidAddress       it is not one address that can receive mail
├── NotFound                 nothing here by that name
├── Conflict                 it contradicts what is already there
│   └── ReferenceTaken       the reference belongs to a release with other content
├── InvalidLink              a link that was not made here
│   └── ExpiredLink          a link that was made here, too long ago
├── UnknownMailbox           an address at our domain that was not made here
├── UnusableMessage          what arrived by mail cannot be read
├── Unauthorized             no API key, or an unknown one
└── Forbidden                a known API key that may not do this

The doors (web, api, cli) translate these into status codes; nobody else catches them.
"""


class MailerError(Exception):
    """A mistake with a sentence that may be shown to whoever made it."""


class Misconfigured(MailerError):
    """A setting is missing or makes no sense; the sentence says how to mend it."""


class InvalidInput(MailerError):
    """A field holds what cannot be accepted; `problems` maps field paths to sentences."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


class InvalidAddress(InvalidInput):
    """The text is not one email address that can receive mail."""

    def __init__(self, sentence: str, field: str = "address") -> None:
        super().__init__({field: sentence})


class NotFound(MailerError):
    """Nothing here by that name."""


class Conflict(MailerError):
    """The request contradicts what is already there."""


class ReferenceTaken(Conflict):
    """The reference belongs to a release with other content; `release_id` says which."""

    def __init__(self, reference: str, release_id: int) -> None:
        super().__init__(
            f"The reference {reference!r} already belongs to release {release_id}, "
            "with other content. To change what was published, correct that release; "
            "to publish something new, use a new reference."
        )
        self.release_id = release_id


class InvalidLink(MailerError):
    """The link was not made here, or not for this."""


class ExpiredLink(InvalidLink):
    """The link was made here, too long ago; `subscription_id` and `purpose` say what for."""

    def __init__(self, subscription_id: int, purpose: str) -> None:
        super().__init__("This link has expired.")
        self.subscription_id = subscription_id
        self.purpose = purpose


class UnknownMailbox(MailerError):
    """The address was not made here, so that nothing can be done with what arrives at it."""


class UnusableMessage(MailerError):
    """What arrived is no message, or too large to be one that matters."""


class Unauthorized(MailerError):
    """There is no API key, or an unknown one."""


class Forbidden(MailerError):
    """The API key is known and may not do this."""
