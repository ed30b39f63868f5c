"""What arrives by mail is read to its end, whatever it is, and its text is nobody's business."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import UnusableMessage
from mailer.mail.inbound import LARGEST_HEADER, LARGEST_MESSAGE, InboundMessage, read_message

MESSAGE = b"""\
Return-Path: <kari@example.org>
Delivered-To: Unsubscribe-Abc@in.example.org
X-Original-To: unsubscribe-abc@in.example.org
Received: from mail.example.org by in.example.org; Thu, 13 Nov 2025 09:00:00 +0100
From: Kari <kari@example.org>
To: "Meld av, takk" <unsubscribe-abc@in.example.org>,
 presse@example.org
Subject: unsubscribe

To: somebody-else@in.example.org
Auto-Submitted: auto-replied
"""


def read(message: bytes) -> InboundMessage:
    """Read a message, and see that nothing is left for the mail server to be rid of."""
    stream = io.BytesIO(message)
    try:
        return read_message(stream)
    finally:
        assert not stream.read() or len(message) > LARGEST_HEADER


def with_field(field: bytes) -> bytes:
    """Put a field on top of the message."""
    return field + b"\n" + MESSAGE


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_header_says_whom_it_was_for_and_the_text_nothing(end: bytes) -> None:
    arrival = read(MESSAGE.replace(b"\n", end))
    assert arrival == InboundMessage(
        (
            "Unsubscribe-Abc@in.example.org",
            *("unsubscribe-abc@in.example.org",) * 2,
            "presse@example.org",
        ),
        automatic=False,
    )


def test_the_line_of_an_mbox_file_is_no_field() -> None:
    assert read(b"From kari@example.org Thu Nov 13\n" + MESSAGE) == read(MESSAGE)


def test_a_message_may_end_with_its_header() -> None:
    assert read(b"To: a@example.org").recipients == ("a@example.org",)


@pytest.mark.parametrize("value", ["no", "NO", " no ", "no (a person wrote it)", "no; owner=kari"])
def test_a_person_says_that_they_are_none_of_those_machines(value: str) -> None:
    assert not read(with_field(f"Auto-Submitted: {value}".encode())).automatic


@pytest.mark.parametrize(
    "field",
    [
        *("Auto-Submitted: auto-replied", "AUTO-SUBMITTED: Auto-Generated", "Auto-Submitted: none"),
        *("Auto-Submitted: auto-replied (vacation)", "Auto-Submitted:", "Auto-Submitted: \xff"),
        *("Auto-Submitted: no\nAuto-Submitted: auto-replied", "Auto-Submitted:\n auto-replied"),
        *("Return-Path: <>", "Return-Path: < >", "Return-Path:", "Return-Path: MAILER-DAEMON"),
        *("Return-Path: <Mailer-Daemon@relay.example.org>", "Return-Path:\n <>"),
    ],
)
def test_a_machine_is_known_by_its_header(field: str) -> None:
    assert read(with_field(field.encode("latin-1"))).automatic


def test_of_two_return_paths_ours_counts() -> None:
    assert not read(MESSAGE.replace(b"Received:", b"Return-Path: <>\nReceived:")).automatic


def test_an_empty_input_is_none() -> None:
    with pytest.raises(UnusableMessage, match="no message"):
        read(b"")


@pytest.mark.parametrize(
    "octets",
    [b"\n", b"\r\n\r\ntext", b"hello\n", b"\0\0\0", b"\xff\xfe: a\n", b": a\n", b" a: b\n"],
)
def test_what_has_no_header_is_no_message(octets: bytes) -> None:
    with pytest.raises(UnusableMessage, match="no message"):
        read(octets)


def test_an_endless_header_is_not_read_to_its_end() -> None:
    for endless in (b"To: " + b"a" * LARGEST_HEADER, b"To: a@example.org\n" * 4_000):
        with pytest.raises(UnusableMessage, match="longer"):
            read(endless)


def test_a_large_text_is_passed_over_and_an_endless_one_refused() -> None:
    large = MESSAGE + b"x" * (LARGEST_MESSAGE - len(MESSAGE))
    assert read(large) == read(MESSAGE)
    with pytest.raises(UnusableMessage, match="larger"):
        read(large + b"xx")


@pytest.mark.parametrize(
    "value", [b"(" * 60_000, b"a" * 60_000, b'"' * 60_000, b"a@" * 30_000, b"<" * 60_000]
)
def test_a_field_that_is_made_to_take_long_does_not(value: bytes) -> None:
    assert isinstance(read(b"To: " + value + b"\n\n"), InboundMessage)


@given(st.binary(max_size=500), st.binary(max_size=500))
def test_no_octets_break_anything(before: bytes, after: bytes) -> None:
    for octets in (before, b"To: " + before + b"\n\n" + after, before + MESSAGE):
        with suppress(UnusableMessage):
            assert all("@" in address for address in read(octets).recipients)
