"""Slips of the finger in well-known domains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.mail.addresses import _WELL_KNOWN, probably_meant

LETTERS = "abghilmnot.xy"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gmial.com", "gmail.com"),
        ("gamil.com", "gmail.com"),
        ("gmai.com", "gmail.com"),
        ("gmaill.com", "gmail.com"),
        ("ggmail.com", "gmail.com"),
        ("gnail.com", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmail.co", "gmail.com"),
        ("gmail.no", "gmail.com"),
        ("hotmial.com", "hotmail.com"),
        ("hotmai.no", "hotmail.no"),
        ("outlok.com", "outlook.com"),
        ("outloook.com", "outlook.com"),
        ("yaho.no", "yahoo.no"),
        ("iclud.com", "icloud.com"),
        ("onlin.no", "online.no"),
        ("onilne.no", "online.no"),
        ("altibx.no", "altibox.no"),
        ("braodpark.no", "broadpark.no"),
    ],
)
def test_one_slip_is_seen(typed: str, meant: str) -> None:
    assert probably_meant(f"kari.nordmann@{typed}") == f"kari.nordmann@{meant}"


@pytest.mark.parametrize(
    "right",
    [
        *("gmail.com", "hotmail.no", "hotmail.com", "online.no", "live.no", "yahoo.no"),
        *("mail.com", "email.com", "ymail.com"),  # one letter from others, and real
        *("gmail.com.example.org", "example.org", "xn--blbr-roah.no", "gml.com", "nmail.no"),
    ],
)
def test_what_is_right_or_far_off_is_left_alone(right: str) -> None:
    assert probably_meant(f"kari@{right}") is None


def test_only_the_domain_changes() -> None:
    assert probably_meant("gmial.com@gmial.com") == "gmial.com@gmail.com"


@given(st.text(st.sampled_from("gmailo.cn"), min_size=1, max_size=12))
def test_a_suggestion_needs_none_itself(typed: str) -> None:
    meant = probably_meant(f"kari@{typed}")
    assert meant is None or probably_meant(meant) is None


def one_slip_away(word: str) -> set[str]:
    """Return every word with one letter missing, added or wrong, or two neighbours swapped."""
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    return {
        *(left + right[1:] for left, right in cuts if right),
        *(left + letter + right for left, right in cuts for letter in LETTERS),
        *(left + letter + right[1:] for left, right in cuts if right for letter in LETTERS),
        *(left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1),
    }


@given(st.sampled_from(_WELL_KNOWN), st.data())
def test_a_suggestion_is_one_slip_away(known: str, data: st.DataObject) -> None:
    once = data.draw(st.sampled_from(sorted(one_slip_away(known))))
    typed = data.draw(st.sampled_from([once, *sorted(one_slip_away(once))]))
    meant = probably_meant(f"kari@{typed}")
    near = {one for one in _WELL_KNOWN if typed in one_slip_away(one)}
    assert (
        meant is None or meant.removeprefix("kari@") in near or typed in ("gmail.no", "icloud.no")
    )
