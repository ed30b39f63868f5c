"""The exceptions that this package raises on purpose, as one tree.

MailerError
├── Misconfigured            a setting is missing or makes no sense
├── InvalidInput             a field holds what cannot be accepted
│   ├── InvalidAddress       it is not one address that can receive mail
│   └── NotComposed          no letter can be made of the HTML of a release
├── NotFound                 the press room, release, page or address does not exist
├── Conflict                 it contradicts what is already there
│   └── ReferenceTaken       the reference belongs to a release with other content
├── InvalidLink              the signature is wrong, or the subscription does not exist
│   └── ExpiredLink          this service signed the link, too long ago
├── UnknownMailbox           an address at our domain that this service did not sign
├── UnusableMessage          an inbound message that cannot be read
├── Busy                     there is too much to do now; it may be asked again
│   └── Killed               what worked was killed from outside
├── Unauthorized             no API key, or an unknown one
└── Forbidden                a known API key that may not do this

The entry points (web, api, cli) translate these into status codes.
"""


class MailerError(Exception):
    """An error whose sentence may be shown to the caller or visitor who caused it."""


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


class NotComposed(InvalidInput):
    """No letter can be made of the HTML of a release, which may have ended what tried to."""

    def __init__(self, sentence: str = "No letter can be made of this HTML.") -> None:
        super().__init__({"body_html": sentence})


class NotFound(MailerError):
    """The press room, release, page or address does not exist."""


class Conflict(MailerError):
    """The request contradicts what is already there."""


class ReleaseConflict(Conflict):
    """Another release stands against this one; `release_id` says which."""

    release_id: int


class PublishedAlready(ReleaseConflict):
    """The same content was published a short while ago under another reference."""

    def __init__(self, reference: str, release_id: int) -> None:
        super().__init__(
            f"Release {release_id}, with the reference {reference!r}, has the same content, and "
            'everybody would get it twice. To send it again all the same, add "again": true.'
        )
        self.release_id = release_id


class ReferenceTaken(ReleaseConflict):
    """The reference belongs to a release with other content; `release_id` says which."""

    def __init__(self, reference: str, release_id: int) -> None:
        super().__init__(
            f"The reference {reference!r} already belongs to release {release_id}, "
            "with other content. To change what was published, correct that release; "
            "to publish something new, use a new reference."
        )
        self.release_id = release_id


class InvalidLink(MailerError):
    """The link has no valid signature for its purpose, or its subscription does not exist."""


class ExpiredLink(InvalidLink):
    """The link was signed too long ago; `subscription_id` and `purpose` say what for."""

    def __init__(self, subscription_id: int, purpose: str) -> None:
        super().__init__("This link has expired.")
        self.subscription_id = subscription_id
        self.purpose = purpose


class UnknownMailbox(MailerError):
    """This service did not sign the address, so it cannot act on a message to it."""


class UnusableMessage(MailerError):
    """The inbound data is no message, or too large a message."""


class Busy(MailerError):
    """There is too much to do now; the same may be asked again in a few seconds."""

    def __init__(self) -> None:
        super().__init__("There is too much to do just now. Try again in a few seconds.")


class Killed(Busy):
    """What worked was killed from outside, as on a machine that has too much to do."""


class Unauthorized(MailerError):
    """There is no API key, or an unknown one."""


class Forbidden(MailerError):
    """The API key is known and may not do this."""
