"""A composed message is what was meant, whatever it was given, and never more than one."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.mail.message import UnsafeValue, compose, slot
from tests.mail.conftest import parse, part
from tests.mail.texts import bodies, lines

CONTROLS = ["\r\nBcc: all@example.org", "\nX: y", "\r", "\0", "\x0b", "\x7f", "\x85", "\u2028"]


@given(lines)
@example("x" * 200)
@example(f"{'x' * 70} {'y' * 70}")
def test_subjects_arrive_as_they_were_written(subject: str) -> None:
    message = compose([("Subject", subject)], "", "").fill({})
    assert parse(message)["Subject"] == subject
    _assert_header_limits(message)


@given(lines)
def test_names_arrive_as_they_were_written(name: str) -> None:
    message = compose([("From", f"{name} <press@example.org>")], "", "").fill({})
    # Not by policy.default, which reads a space between two encoded words of a name.
    phrase, address = parseaddr(message_from_bytes(message)["From"])
    assert address == "press@example.org"
    assert str(make_header(decode_header(phrase))) == name
    _assert_header_limits(message)


@given(
    st.sampled_from(["Subject", "From", "Reply-To", "List-Id"]),
    st.text(st.sampled_from("aeæø -–日😀"), min_size=1, max_size=200).map(str.split).map(" ".join),
)
@example("List-Id", "Pressemeldinger fra fylkeskommunen og kommunene på begge sider av fjorden")
def test_no_encoded_word_is_longer_than_mail_programs_read(name: str, text: str) -> None:
    value = text if name == "Subject" else f"{text or 'æ'} <press@example.org>"
    message = compose([(name, value)], "", "").fill({}).decode()
    for line in message.partition("\r\n\r\n")[0].split("\r\n"):
        # RFC 2047, section 2: 75 characters of a word, 76 of a line that has one.
        words = re.findall(r"=\?\S*\?=", line)
        assert all(len(word) <= 75 for word in words)
        assert len(line) <= 76 or not words


@given(bodies, bodies)
def test_bodies_arrive_as_they_were_written(text: str, html: str) -> None:
    message = compose([("Subject", "s")], text, html).fill({})
    parsed = parse(message)
    assert part(parsed, "plain") == text
    assert part(parsed, "html") == html
    _assert_on_the_wire(message)


@given(st.lists(st.one_of(lines, st.sampled_from(["\n", "."])), min_size=1, max_size=8))
def test_slots_fill_at_any_place_and_break_no_line_limit(texts: list[str]) -> None:
    token = "T" * 70
    message = compose([], slot("token").join(texts), "").fill({"token": token})
    assert part(parse(message), "plain") == token.join(texts)
    _assert_on_the_wire(message)


def test_a_line_of_one_dot_is_text_and_never_the_end() -> None:
    message = compose([], "before\n.\n..\n.hidden\nafter", "").fill({})
    assert b"\r\n." not in message
    assert part(parse(message), "plain") == "before\n.\n..\n.hidden\nafter"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_becomes_crlf(end: str) -> None:
    message = compose([], f"one{end}two", "").fill({})
    assert b"\r\none\r\ntwo\r\n" in message


def test_a_dot_behind_a_slot_does_not_open_a_line() -> None:
    message = compose([], f"{slot('token')}.", "").fill({"token": "abc"})
    assert b"\r\n." not in message
    assert part(parse(message), "plain") == "abc."


@pytest.mark.parametrize("evil", CONTROLS)
@pytest.mark.parametrize("name", ["Subject", "From", "List-Archive"])
def test_no_header_takes_control_characters(name: str, evil: str) -> None:
    with pytest.raises(UnsafeValue):
        compose([(name, f"a{evil}b <c@example.org>")], "", "")


@pytest.mark.parametrize("name", ["From", "Reply-To", "List-Id", "List-Archive", "Feedback-ID"])
def test_no_header_takes_an_address_beyond_ascii(name: str) -> None:
    with pytest.raises(UnsafeValue, match="ASCII"):
        compose([(name, "Øya <bjørn@example.org>")], "", "")


@pytest.mark.parametrize(
    "evil", [*CONTROLS, "a> <b@example.org", "a  b", " a", "a ", "", "a" * 321, "\ud800"]
)
def test_no_header_slot_takes_what_would_leave_it(evil: str) -> None:
    composed = compose([("To", f"<{slot('to')}>")], "", "")
    with pytest.raises(UnsafeValue):
        composed.fill({"to": evil})


@pytest.mark.parametrize(
    "evil", [*CONTROLS, ".dot", "a b", "a=b", "å", "<b>", '"', "&amp;", "", "a" * 76, "abc\n"]
)
def test_no_body_slot_takes_what_would_need_encoding(evil: str) -> None:
    composed = compose([], f"see {slot('token')} now", "")
    with pytest.raises(UnsafeValue):
        composed.fill({"token": evil})


def test_a_slot_without_a_value_is_named() -> None:
    with pytest.raises(UnsafeValue, match="confirm_token"):
        compose([], slot("confirm_token"), "").fill({"to": "a@example.org"})


def test_an_address_outside_ascii_stays_utf_8() -> None:
    message = compose([("To", f"<{slot('to')}>")], "", "").fill({"to": "bjørn@example.org"})
    assert b"To: <bj\xc3\xb8rn@example.org>\r\n" in message


def test_long_links_in_headers_are_not_broken() -> None:
    link = f"<https://example.org/{'a' * 200}>"
    message = compose([("List-Unsubscribe", link)], "", "").fill({})
    assert f"List-Unsubscribe: {link}\r\n".encode() in message


def test_a_header_that_cannot_be_folded_is_refused() -> None:
    with pytest.raises(UnsafeValue):
        compose([("List-Archive", f"<https://example.org/{'a' * 1000}>")], "", "")


def test_the_same_content_makes_the_same_message() -> None:
    first, again = (compose([("Subject", "s")], "text", "html").fill({}) for _ in range(2))
    assert first == again
    assert compose([("Subject", "s")], "other", "html").fill({}) != first


def _assert_header_limits(message: bytes) -> None:
    head = message.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    assert max(map(len, head.split(b"\r\n"))) <= 78


def _assert_on_the_wire(message: bytes) -> None:
    """7-bit, CRLF only, nothing to stuff, the lines of bodies within RFC 2045."""
    assert message.isascii()
    assert message.endswith(b"\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", message)
    assert max(map(len, message.split(b"\r\n"))) <= 76
    assert not re.search(rb"^\.|^From ", message, re.MULTILINE)
    assert not re.search(rb"[ \t]\r\n", message)
