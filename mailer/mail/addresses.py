"""Email addresses: their canonical form, and typing errors in them."""

from __future__ import annotations

import unicodedata

from email_validator import EmailNotValidError, validate_email

from mailer.errors import InvalidAddress

_AROUND = ' \t\xa0.,;:<>()[]"\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\xab\xbb'
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\xb4`", "'"))
_OCTETS = 254
_LOCAL_OCTETS = 64
_INVALID = "Enter one valid email address."
_UNREACHABLE = "Our mail system cannot reach this address."
_WELL_KNOWN = (
    *("gmail.com", "googlemail.com", "hotmail.com", "hotmail.no", "outlook.com", "live.com"),
    *("live.no", "yahoo.com", "yahoo.no", "icloud.com", "protonmail.com", "proton.me"),
    *("online.no", "broadpark.no", "getmail.no", "altibox.no", "frisurf.no", "ebnett.no"),
)
# The last five are real domains, too, though one typing error away from a well-known one.
_RIGHT = {*_WELL_KNOWN, "mail.com", "email.com", "ymail.com", "line.com", "love.com"}
_LARGE = {
    *(*_WELL_KNOWN, "aol.com", "fastmail.com", "gmx.com", "gmx.de", "gmx.net", "googlemail.com"),
    *("hotmail.co.uk", "hotmail.de", "hotmail.fr", "hotmail.se", "live.se", "mac.com", "mail.com"),
    *("me.com", "msn.com", "outlook.dk", "pm.me", "telia.com", "web.de", "yahoo.co.uk"),
    *("yahoo.de", "yahoo.fr", "yahoo.se", "ymail.com", "zoho.com"),
}
# More than one typing error away from a well-known domain, and never the domain of an address.
_WRONG = {"gmail.no": "gmail.com", "icloud.no": "icloud.com"}


def canonical(text: str, *, smtputf8: bool = True) -> str:
    """Return the form in which an address is stored: lower case, NFC, A-labels (RFC 5891).

    `smtputf8` says whether the relay takes letters beyond ASCII before the @ (RFC 6531).
    Raises InvalidAddress for anything but one address that can receive mail.
    """
    text = text.strip(" ")
    # U+FFFD replaces a letter that was decoded wrongly.
    if any(unicodedata.category(one) in ("Cc", "Cf", "Cs") or one == "\ufffd" for one in text):
        raise InvalidAddress(_INVALID)
    try:
        parsed = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise InvalidAddress(_INVALID) from None
    if "." not in parsed.ascii_domain:
        raise InvalidAddress(_INVALID)
    local = unicodedata.normalize("NFC", parsed.local_part.lower())
    address = f"{local}@{parsed.ascii_domain.lower()}"
    if len(local.encode()) > _LOCAL_OCTETS or len(address.encode()) > _OCTETS:
        raise InvalidAddress(_INVALID)
    if not local.isascii() and not smtputf8:
        raise InvalidAddress(_UNREACHABLE)
    return address


def domain(address: str) -> str:
    """Return the part of a canonical address after the @."""
    return address.rpartition("@")[2]


def folded(address: str) -> str:
    """Return the mailbox of a canonical address, as far as is known: for limits alone.

    What follows a plus sign is a note of the reader's own; Gmail ignores dots as well.
    """
    name, _, host = address.rpartition("@")
    name = name.partition("+")[0] or name
    if host in ("gmail.com", "googlemail.com"):
        name, host = name.replace(".", ""), "gmail.com"
    return f"{name}@{host}"


def is_of_large_provider(address: str) -> bool:
    """Tell whether very many people have their mail at the domain of a canonical address."""
    return domain(address) in _LARGE


def masked(address: str) -> str:
    """Return a canonical address with its local part hidden: a forwarded link may show it."""
    return f"{address[0]}…@{domain(address)}"


def repaired(text: str) -> str:
    """Return an address as it was typed, without slips that make another text of it.

    Those are a comma in the domain, an apostrophe as word processors write it, and whatever stands
    around an address that was copied.
    """
    if text.count("@") != 1:
        return text
    name, _, host = text.strip(_AROUND).removeprefix("mailto:").partition("@")
    return f"{name.translate(_APOSTROPHES).strip()}@{host.replace(',', '.').strip(_AROUND)}"


def probably_meant(address: str) -> str | None:
    """Return the address with the well-known domain that is one typing error away, or None.

    The result is only a suggestion, since any domain may exist. It depends on the text of the
    address alone, never on stored rows. The address has to be in canonical form.
    """
    typed = domain(address)
    if typed in _RIGHT:
        return None
    near = (known for known in _WELL_KNOWN if _one_slip(typed, known))
    meant = _WRONG.get(typed) or next(near, None)
    return address.removesuffix(typed) + meant if meant else None


def _one_slip(typed: str, meant: str) -> bool:
    """Tell whether one letter is missing, added or wrong, or two neighbours are swapped."""
    same = 0
    while typed[same : same + 1] == meant[same : same + 1] != "":
        same += 1
    typed, meant = typed[same:], meant[same:]
    return (
        typed == meant[1:]
        or typed[1:] == meant
        or typed[1:] == meant[1:]
        or (typed[:2] == meant[1::-1] and typed[2:] == meant[2:])
    )
