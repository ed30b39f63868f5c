"""Made letters, read back by three readers: all find the message that was meant.

They are Python's own parser, in its new manner and in its old, and Rust's mailparse, which shares
nothing with them. `make letters` makes 5,000 of each instead of a few hundred.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import parseaddr
from html import unescape
from typing import Any

import pytest
from fast_mail_parser import PyMimePart, parse_email, parse_email_tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailer.mail.content import PressRoom, ReplacedVersion, Story
from mailer.mail.letters import Letters
from mailer.mail.locales import available
from mailer.mail.message import message_date
from tests.mail.conftest import VALUES
from tests.mail.stories import (
    RECIPIENTS,
    Passage,
    bodies,
    maybe,
    moments,
    one_line,
    press_rooms,
    stories,
)
from tests.mail.test_letters import Page

USUAL = 300
EXAMPLES = int(os.environ.get("LETTERS_EXAMPLES", USUAL))
LARGEST_BODY = 1_048_576

made = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == USUAL,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

HEADERS = [
    *("From", "To", "Subject", "Date", "Message-ID", "Reply-To", "Content-Language"),
    *("List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Archive"),
    *("Precedence", "Feedback-ID", "MIME-Version", "Content-Type"),
]
PART = ["Content-Type", "Content-Transfer-Encoding"]


@dataclass(frozen=True)
class Read:
    """What one reader has found: the headers decoded, and each part with its own."""

    headers: dict[str, str]
    kind: str
    parts: list[tuple[str, dict[str, str], str]]


def read_in_the_new_manner(message: bytes) -> Read:
    parsed = message_from_bytes(message, policy=policy.default)
    assert parsed.defects == []
    return Read(
        {name: str(value) for name, value in parsed.items()},
        parsed.get_content_type(),
        [
            (part.get_content_type(), dict(part.items()), part.get_content())
            for part in parsed.iter_parts()
        ],
    )


def read_in_the_old_manner(message: bytes) -> Read:
    parsed = message_from_bytes(message, policy=policy.compat32)
    assert parsed.defects == []
    parts: Any = parsed.get_payload()
    return Read(
        {name: _decoded(value) for name, value in parsed.items()},
        parsed.get_content_type(),
        [
            (
                part.get_content_type(),
                dict(part.items()),
                part.get_payload(decode=True).decode(part.get_content_charset()),
            )
            for part in parts
        ],
    )


def read_by_another(message: bytes) -> Read:
    tree = parse_email_tree(message)
    return Read(
        _single(tree),
        tree.content_type,
        [
            (part.content_type, _single(part), (part.content or b"").decode())
            for part in tree.children
        ],
    )


def _decoded(value: Any) -> str:
    """Decode the encoded words of a header; an address outside ASCII is UTF-8 (RFC 6532)."""
    text = str(value)
    if "�" in text or not text.isascii():
        [(octets, _)] = decode_header(value)
        return octets.decode() if isinstance(octets, bytes) else octets
    unfolded = re.sub(r"\r?\n(?=[ \t])", "", text)
    return str(make_header(decode_header(unfolded)))


def _single(part: PyMimePart) -> dict[str, str]:
    assert all(len(values) == 1 for values in part.headers.values())
    return {name: values[0] for name, values in part.headers.items()}


READERS = (read_in_the_new_manner, read_in_the_old_manner, read_by_another)


def compose(letters: Letters, room: PressRoom, story: Story, locale: str, recipient: str) -> bytes:
    """Compose a release and fill it for a recipient, as the fan-out does."""
    composed = letters.release(room, story, locale)
    dated = composed.with_values({"date": message_date(story.published_at)})
    return dated.fill({**VALUES, "to": recipient})


def see_the_wire(message: bytes) -> None:
    """CRLF only, no line too long (RFC 5321, 4.5.3.1.6), and nothing to stuff (4.5.2)."""
    assert message.endswith(b"\r\n")
    lines = message.split(b"\r\n")
    assert not re.search(rb"[\r\n\0]", b"".join(lines))
    assert max(map(len, lines)) <= 998
    assert not [line for line in lines if line.startswith((b".", b"From "))]
    assert message.partition(b"\r\n\r\n")[2].isascii()


def see_the_frame(read: Read, room: PressRoom, story: Story, recipient: str) -> None:
    """The headers are those that were meant, and there are two parts, in order."""
    assert list(read.headers) == HEADERS
    assert read.headers["Subject"] == story.title
    # The new manner drops the brackets of an address outside ASCII.
    assert read.headers["To"].strip("<>") == recipient
    assert read.headers["Date"] == message_date(story.published_at)
    assert read.headers["Message-ID"] == f"<{VALUES['message_id']}>"
    assert read.headers["List-Archive"] == f"<{room.page_url}>"
    token = VALUES["one_click_token"]
    leave = f"<https://follow.example.com/one-click/{token}>"
    assert read.headers["List-Unsubscribe"] == leave
    assert read.headers["Content-Language"].partition(",")[0] == story.language
    assert read.kind == "multipart/alternative"
    assert [kind for kind, _, _ in read.parts] == ["text/plain", "text/html"]
    for kind, headers, _ in read.parts:
        assert list(headers) == PART
        assert headers["Content-Type"].replace('"', "") == f"{kind}; charset=utf-8"
        assert headers["Content-Transfer-Encoding"] == "quoted-printable"


def see_the_sender(message: bytes, room: PressRoom) -> None:
    """The press room's name arrives as it is written, and answers go where it came from.

    Not by the new manner, which reads a space between two encoded words of a name.
    """
    meant = (room.name, room.from_address)
    old, other = message_from_bytes(message), parse_email(message)
    for name in ("From", "Reply-To"):
        phrase, address = parseaddr(old[name])
        assert (str(make_header(decode_header(phrase))), address) == meant
    assert other.from_ is not None
    for sender in (other.from_, *other.reply_to):
        assert (sender.display_name, sender.address) == meant


def see_the_story(read: Read, story: Story, passage: Passage) -> None:
    """Both bodies say all that the story says, and lead wherever it leads."""
    (_, _, plain), (_, _, html) = read.parts
    page = Page(html)
    told = {" ".join(text.split()) for text in (*passage.words, *_words_of(story))}
    told = {text for text in told if text}
    flat, shown = " ".join(plain.split()), " ".join(page.text.split())
    assert {text for text in told if text not in flat} == set()
    assert {text for text in told if text not in shown} == set()
    links = {*passage.links, *_links_of(story)}
    assert {url for url in links if url not in plain} == set()
    assert {url for url in links if url not in {unescape(link) for link in page.links}} == set()


def _words_of(story: Story) -> list[str]:
    optional = [story.lead]
    for image in story.pictures:
        optional += [image.caption, image.credit]
    if story.source:
        optional += [story.source.text]
    for contact in story.contacts:
        optional += [contact.name, contact.title, contact.email, contact.phone]
    optional += [one.title for one in story.documents] + [one.title for one in story.latest]
    return [story.title, *story.keywords, *filter(None, optional)]


def _links_of(story: Story) -> list[str]:
    linked = [one.url for one in story.documents] + [one.url for one in story.latest]
    if story.source and story.source.url:
        linked.append(story.source.url)
    return [*linked, *filter(None, [story.web_url])]


@made
@given(data=st.data(), passage=bodies, room=press_rooms)
def test_three_readers_find_what_was_meant(
    letters: Letters, data: st.DataObject, passage: Passage, room: PressRoom
) -> None:
    story = data.draw(stories(passage))
    locale = data.draw(st.sampled_from(available()))
    recipient = data.draw(st.sampled_from(RECIPIENTS))
    message = compose(letters, room, story, locale, recipient)
    see_the_wire(message)
    see_the_sender(message, room)
    found = [reader(message) for reader in READERS]
    for read in found:
        see_the_frame(read, room, story, recipient)
    first, *others = found
    assert all(read.parts[0][2] == first.parts[0][2] for read in others)
    assert all(read.parts[1][2] == first.parts[1][2] for read in others)
    see_the_story(first, story, passage)


@settings(made, max_examples=EXAMPLES // 3)
@given(data=st.data(), passage=bodies, note=maybe, number=st.integers(1, 3))
def test_what_replaces_a_release_is_found_under_it(
    letters: Letters,
    press_room: PressRoom,
    data: st.DataObject,
    passage: Passage,
    note: str | None,
    number: int,
) -> None:
    story = data.draw(stories(passage))
    tell = data.draw(st.sampled_from([letters.correction, letters.retraction]))
    replaced = ReplacedVersion(data.draw(one_line), data.draw(moments), number, note)
    message = tell(press_room, story, replaced, data.draw(st.sampled_from(available()))).fill(
        {**VALUES, "to": data.draw(st.sampled_from(RECIPIENTS))}
    )
    see_the_wire(message)
    found = [reader(message) for reader in READERS]
    for read in found:
        assert set(read.headers) == {*HEADERS, "In-Reply-To", "References"}
        assert read.headers["In-Reply-To"] == f"<{VALUES['in_reply_to']}>"
        assert read.headers["References"].endswith(f"<{VALUES['in_reply_to']}>")
        named = story.title if tell == letters.correction else replaced.title
        assert read.headers["Subject"].endswith(named)
        assert [body for _, _, body in read.parts] == [body for _, _, body in found[0].parts]


@pytest.mark.slow
@settings(made, max_examples=max(4, EXAMPLES // 250))
@given(data=st.data(), passage=bodies)
def test_the_largest_stories_arrive_whole(
    letters: Letters, press_room: PressRoom, data: st.DataObject, passage: Passage
) -> None:
    times = LARGEST_BODY // len(passage.html)
    long = Passage(passage.html * times, passage.words, passage.links)
    story = data.draw(stories(long))
    message = compose(letters, press_room, story, "nb", RECIPIENTS[1])
    see_the_wire(message)
    first, *others = [reader(message) for reader in READERS]
    assert [read.parts[0][2] for read in others] == [first.parts[0][2]] * len(others)
    assert [read.parts[1][2] for read in others] == [first.parts[1][2]] * len(others)
    see_the_story(first, story, passage)
