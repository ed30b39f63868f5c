"""A signed message verifies as it is, for verifiers that are not ours, and no other way."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.mail.dkim import keys_for, sign
from mailer.mail.message import Composed, compose, slot
from mailer.relay import DkimKey
from tests.dkim_keys import dkimpy_verdicts, ed25519, opendkim_verdicts, rsa
from tests.mail.conftest import VALUES
from tests.mail.texts import bodies, lines

TIMESTAMP = datetime(2025, 11, 13, 8, tzinfo=UTC)
DOMAIN = "museet.example"
OVERSIGNED = (
    *("From", "To", "Subject", "Date", "Message-ID", "Reply-To", "MIME-Version", "Content-Type"),
    *("List-Unsubscribe", "List-Unsubscribe-Post"),
)


@functools.cache
def keys() -> tuple[DkimKey, ...]:
    """Two keys of each kind, made once."""
    return rsa(DOMAIN), ed25519(DOMAIN), rsa(DOMAIN, "old", 3072), ed25519(DOMAIN, "next")


def small(name: str = "Museet", subject: str = "s", text: str = "t", html: str = "h") -> Composed:
    """Compose a message with slots in its headers, folded ones too, and at the end of its texts."""
    return compose(
        [
            ("From", f"{name} <presse@museet.example>"),
            ("To", f"<{slot('to')}>"),
            ("Subject", subject),
            ("Date", slot("date")),
            ("List-Unsubscribe", f"<https://follow.example.com/{'f' * 60}/{slot('token')}>"),
            ("X-Folded", " ".join([f"word{slot('token')}"] * 9)),
        ],
        f"{text}{slot('token')}",
        f"{html}{slot('token')} {slot('token')}.",
    )


def filling(to: str = "kari@example.org", token: str = "eyJ.x_y-z") -> Mapping[str, str]:
    """Give the values of its slots."""
    return {"to": to, "date": VALUES["date"], "token": token}


@settings(deadline=None)
@given(
    st.tuples(lines, lines, bodies, bodies),
    st.sampled_from(["kari", "bjørn", "北京", "a+b.c", "x" * 64]),
    st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._~:@+/-]{0,74}", fullmatch=True),
    st.sets(st.integers(0, 3), min_size=1).map(sorted),
)
def test_whatever_is_signed_verifies(
    texts: tuple[str, str, str, str], local: str, token: str, chosen: list[int]
) -> None:
    signing = [keys()[number] for number in chosen]
    composed = small(*texts)
    values = filling(f"{local}@example.org", token)
    message = sign(composed, signing, TIMESTAMP).fill(values)
    assert dkimpy_verdicts(message, signing) == [True] * len(signing)
    assert message.endswith(b"\r\n" + composed.fill(values))


@settings(deadline=None)
@given(st.data())
def test_a_changed_octet_does_not_verify(data: st.DataObject) -> None:
    composed, signing = small(text="Brygga er åpen.", html="<p>Brygga</p>"), keys()[:2]
    message = sign(composed, signing, TIMESTAMP).fill(filling())
    start = len(message) - len(composed.fill(filling()))
    # A digit for a letter, since case and white space do not matter everywhere.
    places = [at for at in range(start, len(message)) if chr(message[at]).isalnum()]
    at = data.draw(st.sampled_from(places))
    other = b"1" if message[at : at + 1] == b"0" else b"0"
    changed = message[:at] + other + message[at + 1 :]
    assert dkimpy_verdicts(changed, signing) == [False, False]


@pytest.mark.parametrize("name", OVERSIGNED)
@pytest.mark.parametrize("value", ["<other@example.org>", "other"])
def test_nobody_can_add_another_header(letter: Composed, name: str, value: str) -> None:
    signing = keys()[:2]
    message = sign(letter, signing, TIMESTAMP).fill(VALUES)
    added = f"{name}: {value}\r\n".encode()
    below = message.replace(b"\r\n\r\n", b"\r\n" + added + b"\r\n", 1)
    for changed in (added + message, below):
        assert dkimpy_verdicts(changed, signing) == [False, False]


def test_every_header_is_signed(letter: Composed) -> None:
    message = sign(letter, keys()[:2], TIMESTAMP).fill(VALUES)
    fields = re.split(r"\r\n(?![ \t])", message.partition(b"\r\n\r\n")[0].decode())
    own, others = fields[:2], [field.partition(":")[0].lower() for field in fields[2:]]
    for signature in own:
        found = re.search(r"\bh=([^;]+)", signature)
        assert found
        signed = re.sub(r"\s", "", found[1]).split(":")
        once_more = [*others, *(name.lower() for name in OVERSIGNED)]
        assert sorted(signed) == sorted(once_more)
        assert f"t={int(TIMESTAMP.timestamp())};" in signature


@pytest.mark.processes
def test_both_verifiers_take_every_letter(letter: Composed, tmp_path: Path) -> None:
    message = sign(letter, keys(), TIMESTAMP).fill({**VALUES, "to": "bjørn@example.org"})
    assert dkimpy_verdicts(message, keys()) == [True] * 4
    assert opendkim_verdicts(message, keys(), tmp_path) == [True] * 4


@pytest.mark.processes
def test_opendkim_refuses_what_was_changed(letter: Composed, tmp_path: Path) -> None:
    message = sign(letter, keys()[:2], TIMESTAMP).fill(VALUES)
    changed = message.replace(b"utf-8", b"utf-7")
    assert opendkim_verdicts(changed, keys()[:2], tmp_path) == [False, False]


def test_the_same_recipient_gets_the_same_octets_at_each_attempt(letter: Composed) -> None:
    signed = sign(letter, keys(), TIMESTAMP)
    first = signed.fill(VALUES)
    signed.fill({**VALUES, "to": "other@example.org"})
    assert signed.fill(VALUES) == first
    assert sign(letter, keys(), TIMESTAMP).fill(VALUES) == first


def test_no_line_of_a_signature_is_long_or_begins_with_a_dot(letter: Composed) -> None:
    head = sign(letter, keys(), TIMESTAMP).fill(VALUES).partition(b"\r\nFrom:")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 78
    assert b"\r\n." not in head


def test_a_body_without_slots_is_signed_too() -> None:
    composed = compose([("From", "<presse@museet.example>")], "text", "html")
    message = sign(composed, keys()[:2], TIMESTAMP).fill({})
    assert dkimpy_verdicts(message, keys()[:2]) == [True, True]


def test_of_two_headers_with_one_name_the_lowest_is_signed_first() -> None:
    twice = [("From", "<presse@museet.example>"), ("X-Room", slot("token")), ("X-Room", "second")]
    message = sign(compose(twice, "", ""), keys()[:2], TIMESTAMP).fill(filling())
    assert dkimpy_verdicts(message, keys()[:2]) == [True, True]


def test_without_keys_nothing_is_signed(letter: Composed) -> None:
    assert sign(letter, [], TIMESTAMP).fill(VALUES) == letter.fill(VALUES)


@pytest.mark.parametrize(
    ("sender", "selectors"),
    [
        ("presse@example.org", ["a", "b"]),
        ("presse@oslo.example.org", ["a", "b"]),
        ("presse@news.example.org", ["news"]),
        ("presse@today.news.example.org", ["news"]),
        ("presse@notexample.org", []),
        ("presse@example.org.example.net", []),
        ("presse@org", []),
    ],
)
def test_the_nearest_domain_signs_with_all_its_keys(sender: str, selectors: list[str]) -> None:
    all_keys = [
        ed25519("example.org", "a"),
        ed25519("news.example.org", "news"),
        ed25519("example.org", "b"),
    ]
    assert [key.selector for key in keys_for(all_keys, sender)] == selectors
