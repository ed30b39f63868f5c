"""Slips of the finger in the domains that most people have their mail at."""

from __future__ import annotations

from mailer.domain.addresses import domain

_WELL_KNOWN = (
    *("gmail.com", "googlemail.com", "hotmail.com", "hotmail.no", "outlook.com", "live.com"),
    *("live.no", "yahoo.com", "yahoo.no", "icloud.com", "protonmail.com", "proton.me"),
    *("online.no", "broadpark.no", "getmail.no", "altibox.no", "frisurf.no", "ebnett.no"),
)
# Near to one of those and right all the same.
_RIGHT = {*_WELL_KNOWN, "mail.com", "email.com", "ymail.com", "line.com", "love.com"}
# More than one slip away, and never anybody's.
_WRONG = {"gmail.no": "gmail.com", "icloud.no": "icloud.com"}


def probably_meant(address: str) -> str | None:
    """Return the address with the well-known domain that is one slip away, or None.

    It is a suggestion and decides nothing: any domain may be somebody's. It looks at the text
    alone, never at what is known of the address, which has to be in canonical form.
    """
    typed = domain(address)
    if typed in _RIGHT:
        return None
    near = (known for known in _WELL_KNOWN if _one_slip(typed, known))
    meant = _WRONG.get(typed) or next(near, None)
    return address.removesuffix(typed) + meant if meant else None


def _one_slip(typed: str, meant: str) -> bool:
    """Tell whether one letter is missing, too many or wrong, or two have changed places."""
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
