"""One canonical form for each address, and a refusal for what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import InvalidAddress
from mailer.mail.addresses import canonical
from tests.support.press_room import KARI

ONE = "Enter one valid email address."
UNREACHABLE = "Our mail system cannot reach this address."

LABEL = "x" * 61
LONGEST_DOMAIN = f"{LABEL}.{LABEL}.{LABEL}.no"  # 188 octets


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Kari@Example.ORG", KARI),
        ("  kari@example.org ", KARI),
        ("kari+bær@example.org", "kari+bær@example.org"),
        ("kari@blåbær.no", f"kari@{'blåbær.no'.encode('idna').decode()}"),
        ("kari@BLÅBÆR.NO", f"kari@{'blåbær.no'.encode('idna').decode()}"),
        ("kari@bla\u030abær.no", f"kari@{'blåbær.no'.encode('idna').decode()}"),
        ("KÅRE@example.org", "k\u00e5re@example.org"),
        ("ka\u030are@example.org", "k\u00e5re@example.org"),
        (f"{'k' * 64}@example.org", f"{'k' * 64}@example.org"),
        (f"{'k' * 64}@{LONGEST_DOMAIN}", f"{'k' * 64}@{LONGEST_DOMAIN}"),
    ],
)
def test_an_address_is_kept_in_one_form(written: str, kept: str) -> None:
    assert canonical(written) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "kari",
        "kari@",
        "@example.org",
        "kari@@example.org",
        "kari@example.org,ola@example.org",
        "kari@example.org, ola@example.org",
        "kari@example.org;ola@example.org",
        "kari@example.org ola@example.org",
        "Kari <kari@example.org>",
        "kari@example.org\n",
        "kari@example.org\r\nBcc: ola@example.org",
        "ka\rri@example.org",
        "ka\0ri@example.org",
        "ka\x1bri@example.org",
        "ka\x85ri@example.org",
        "\u202ekari@example.org",
        "kari@\u2066example.org",
        "ka\u200bri@example.org",
        "ka\u2028ri@example.org",
        "ka\ud800ri@example.org",
        f"{'k' * 65}@example.org",
        f"{'å' * 33}@example.org",
        f"kari@{LABEL}.{LABEL}.{LABEL}.{LABEL}.no",
        f"{'k' * 64}@xxx{LONGEST_DOMAIN}",
        "kari@example",
        "kari@localhost",
        "kari@[192.0.2.1]",
        "kari@[IPv6:2001:db8::1]",
        "kari@192.0.2.1",
        "kari@-example.org",
        "kari@example..org",
        ".kari@example.org",
    ],
)
def test_what_is_not_one_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress, match=ONE):
        canonical(text)


def test_a_domain_without_a_dot_is_refused_whatever_its_name() -> None:
    with pytest.raises(InvalidAddress, match=ONE):
        canonical("kari@test")


def test_a_letter_lost_to_a_wrong_encoding_is_not_taken_for_a_letter() -> None:
    with pytest.raises(InvalidAddress, match=ONE):
        canonical("k\N{REPLACEMENT CHARACTER}re@example.org")


def test_a_relay_without_smtputf8_cannot_reach_a_name_with_other_letters() -> None:
    with pytest.raises(InvalidAddress, match=UNREACHABLE):
        canonical("kåre@example.org", smtputf8=False)


def test_a_relay_without_smtputf8_reaches_any_domain() -> None:
    assert canonical("kari@blåbær.no", smtputf8=False) == canonical("kari@blåbær.no")


anything = st.text(st.characters(), max_size=80)
LIKELY = st.one_of(
    st.emails(),
    st.builds("{}@{}".format, anything, st.sampled_from(["example.org", "blåbær.no"])),
    st.builds("kari@{}.{}".format, anything, st.sampled_from(["no", "example.org"])),
    anything,
)


@given(LIKELY, st.booleans())
def test_the_form_of_a_form_is_itself_and_anything_else_is_refused(
    text: str, smtputf8: bool
) -> None:
    try:
        address = canonical(text, smtputf8=smtputf8)
    except InvalidAddress:
        return
    assert canonical(address, smtputf8=smtputf8) == address
    assert smtputf8 or address.isascii()
