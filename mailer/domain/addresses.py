"""Email addresses: one canonical form for each, and a clear sentence for what is none."""

from __future__ import annotations

import unicodedata

from email_validator import EmailNotValidError, validate_email

from mailer.errors import InvalidAddress

_OCTETS = 254
_LOCAL_OCTETS = 64
_ONE = "Enter one valid email address."
_UNREACHABLE = "Our mail system cannot reach this address."


def canonical(text: str, *, smtputf8: bool = True) -> str:
    """Return the one form in which an address is kept: lower case, NFC, A-labels (RFC 5891).

    `smtputf8` says whether the relay takes letters beyond ASCII before the @ (RFC 6531).
    Raises InvalidAddress for anything but one address that can receive mail.
    """
    text = text.strip(" ")
    # U+FFFD stands where a wrong encoding has eaten a letter.
    if any(unicodedata.category(one) in ("Cc", "Cf", "Cs") or one == "\ufffd" for one in text):
        raise InvalidAddress(_ONE)
    try:
        parsed = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise InvalidAddress(_ONE) from None
    if "." not in parsed.ascii_domain:
        raise InvalidAddress(_ONE)
    local = unicodedata.normalize("NFC", parsed.local_part.lower())
    address = f"{local}@{parsed.ascii_domain.lower()}"
    if len(local.encode()) > _LOCAL_OCTETS or len(address.encode()) > _OCTETS:
        raise InvalidAddress(_ONE)
    if not local.isascii() and not smtputf8:
        raise InvalidAddress(_UNREACHABLE)
    return address


def domain(address: str) -> str:
    """Return the part of a canonical address after the @."""
    return address.rpartition("@")[2]


def masked(address: str) -> str:
    """Return a canonical address as a page may show it to whoever was passed a letter."""
    return f"{address[0]}…@{domain(address)}"
