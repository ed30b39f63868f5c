"""Every letter, in every language, says what it must and nothing it was not given."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import fields, replace
from datetime import datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from mailer.config import TEMPLATES
from mailer.mail.content import Contact, Document, Image, PressRoom, ReplacedVersion, Source, Story
from mailer.mail.html.plaintext import plain_text
from mailer.mail.letters import Letters
from mailer.mail.locales import available, long_date
from mailer.mail.message import Composed
from tests.mail.conftest import KINDS, LINKS, NOTE, VALUES, parse, part, write

SEED = Path(__file__).parents[2].parent / "shared" / "seed"
HEADERS = (
    *("From", "To", "Subject", "Date", "Message-ID", "Reply-To", "Content-Language"),
    *("MIME-Version", "Content-Type"),
)
LIST_HEADERS = ("List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Archive")
INJECTIONS = ["\r\nBcc: all@example.org", "\nBcc: a@b.no\n\nText", "\rBcc: a", "\u2028Bcc: a"]
CONFIRM = f"https://follow.example.com/confirm/{VALUES['confirm_token']}"
MANAGE = f"https://follow.example.com/manage/{VALUES['unsubscribe_token']}"
YOUR_DATA = f"https://follow.example.com/your-data/{VALUES['access_token']}"
MOVE = f"https://follow.example.com/move/{VALUES['move_token']}"
UNSUBSCRIBE = f"https://follow.example.com/unsubscribe/{VALUES['unsubscribe_token']}"
ONE_CLICK = f"https://follow.example.com/one-click/{VALUES['one_click_token']}"


class Page(HTMLParser):
    """The links, the pictures, the visible text and the languages of an HTML body."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self.languages: list[str] = []
        self.text = ""
        self._style = False
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.add(tag)
        self._style = tag == "style"
        if tag == "a":
            self.links.append(attributes["href"] or "")
        if tag == "img":
            self.pictures.append(attributes)
        if language := attributes.get("lang"):
            self.languages.append(language)

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data


def read(composed: Composed) -> tuple[EmailMessage, str, Page]:
    message = parse(composed.fill(VALUES))
    return message, part(message, "plain"), Page(part(message, "html"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("locale", available())
def test_every_letter_is_complete_in_every_locale(
    letters: Letters, press_room: PressRoom, story: Story, kind: str, locale: str
) -> None:
    message, text, page = read(write(letters, kind, press_room, story, locale))
    assert message["To"] == VALUES["to"]
    assert message["Date"] == VALUES["date"]
    assert message["Message-ID"] == f"<{VALUES['message_id']}>"
    assert message["From"].addresses[0].display_name == press_room.name
    assert message["Reply-To"].addresses[0].addr_spec == press_room.from_address
    assert [p.get_content_type() for p in message.iter_parts()] == ["text/plain", "text/html"]
    if kind == "notice":
        assert page.links == [press_room.website_url]
    else:
        own = {"confirm": CONFIRM, "manage": YOUR_DATA, "move": MOVE, "moved": MOVE}
        link = own.get(kind, UNSUBSCRIBE)
        assert link in text.split()
        assert link in page.links
    assert press_room.name in text
    assert press_room.name in page.text
    assert page.languages[0] == locale
    assert "h1" in page.tags
    assert max(map(len, filter(lambda line: "https://" not in line, text.split("\n")))) <= 72


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("locale", available())
def test_letters_load_nothing_but_the_picture(
    letters: Letters, press_room: PressRoom, story: Story, kind: str, locale: str
) -> None:
    composed = write(letters, kind, press_room, story, locale)
    _, _, page = read(composed)
    html = part(parse(composed.fill(VALUES)), "html")
    assert page.tags.isdisjoint({"script", "link", "iframe", "form", "input"})
    assert not re.search(r"url\(|@import|@font-face", html)
    pictured = kind in ("release", "correction")
    expected = ["https://museet.example/skute.jpg"] if pictured else []
    assert [picture["src"] for picture in page.pictures] == expected
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("kind", KINDS)
def test_every_letter_has_the_headers_of_its_kind(
    letters: Letters, press_room: PressRoom, story: Story, kind: str
) -> None:
    message, *_ = read(write(letters, kind, press_room, story, "en"))
    release = {*LIST_HEADERS, "Precedence", "Feedback-ID"}
    own = {
        "release": release,
        "correction": {*release, "In-Reply-To", "References"},
        "retraction": {*release, "In-Reply-To", "References"},
        "welcome": {*LIST_HEADERS, "Auto-Submitted"},
        "following": {*LIST_HEADERS, "Auto-Submitted", "Form-Sub"},
        "confirm": {"Auto-Submitted", "Form-Sub"},
        "move": {"Auto-Submitted", "Form-Sub"},
    }
    expected = {*HEADERS, *own.get(kind, {"Auto-Submitted"})}
    assert sorted(message.keys()) == sorted(expected)
    assert message["MIME-Version"] == "1.0"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evil", INJECTIONS)
def test_no_field_brings_a_header_of_its_own(
    letters: Letters, press_room: PressRoom, story: Story, kind: str, evil: str
) -> None:
    usual = parse(write(letters, kind, press_room, story, "nb").fill(VALUES))
    rooms = [
        replace(press_room, **{name: cast("Any", f"{getattr(press_room, name)}{evil}")})
        for name in ("name", "from_address", "page_url", "website_url", "list_id")
    ]
    stories = [
        replace(story, **{name: cast("Any", f"{getattr(story, name)}{evil}")})
        for name in ("language", "title", "lead", "body_html", "web_url")
    ]
    told = [(room, story) for room in rooms] + [(press_room, told) for told in stories]
    for room, one in told:
        octets = write(letters, kind, room, one, "nb").fill(VALUES)
        message = parse(octets)
        assert message.keys() == usual.keys()
        assert message["To"] == VALUES["to"]
        head = octets.partition(b"\r\n\r\n")[0]
        assert not re.search(rb"^Bcc", head, re.MULTILINE)
        assert [p.get_content_type() for p in message.iter_parts()] == ["text/plain", "text/html"]
        assert max(map(len, octets.split(b"\r\n"))) <= 998


def test_the_recipient_can_leave_by_header(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    for composed in (letters.release(press_room, story, "nb"), letters.welcome(press_room, "nb")):
        message = parse(composed.fill(VALUES))
        assert message["List-Unsubscribe"] == f"<{ONE_CLICK}>"
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert message["List-Id"] == f"{press_room.name} <sjofart.follow.example.com>"
        assert message["List-Archive"] == f"<{press_room.page_url}>"


def test_the_recipient_can_leave_by_mail_where_mail_arrives(
    reachable_letters: Letters, press_room: PressRoom, story: Story
) -> None:
    mailto = f"mailto:{VALUES['unsubscribe_address']}?subject=unsubscribe"
    for composed in (
        reachable_letters.release(press_room, story, "nb"),
        reachable_letters.welcome(press_room, "nb"),
    ):
        octets = composed.fill(VALUES)
        assert parse(octets)["List-Unsubscribe"] == f"<{ONE_CLICK}>, <{mailto}>"
        assert max(map(len, octets.split(b"\r\n"))) <= 998


def test_only_letters_nobody_wrote_say_so(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    sent = {
        kind: parse(write(letters, kind, press_room, story, "nb").fill(VALUES)) for kind in KINDS
    }
    releases = KINDS[:3]
    for kind in KINDS:
        automatic = None if kind in releases else "auto-generated"
        assert sent[kind]["Auto-Submitted"] == automatic
        assert sent[kind]["Precedence"] == ("list" if kind in releases else None)
        leaves = kind in (*releases, "following", "welcome")
        assert (sent[kind]["List-Unsubscribe"] is not None) == leaves
        asked_for = kind in ("confirm", "following", "move")
        assert sent[kind]["Form-Sub"] == ("v=1" if asked_for else None)
    assert sent["release"]["Feedback-ID"] == "20250517:sjofart:release:mailer"


@pytest.mark.parametrize("kind", ["correction", "retraction"])
@pytest.mark.parametrize("locale", available())
def test_what_replaces_a_release_says_so_under_it(
    letters: Letters, press_room: PressRoom, story: Story, kind: str, locale: str
) -> None:
    message, text, page = read(write(letters, kind, press_room, story, locale))
    assert message["In-Reply-To"] == message["References"] == f"<{VALUES['in_reply_to']}>"
    assert message["Subject"].endswith(f": {story.title}")
    assert long_date(story.published_at, locale) in text
    for body in (text, page.text):
        assert NOTE in " ".join(body.split())


def test_a_later_version_names_the_first_one_too(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    third = ReplacedVersion("Hvalen er borte", story.published_at, 2)
    message, text, _ = read(letters.correction(press_room, story, third, "nb"))
    assert message["References"] == f"<{VALUES['thread']}> <{VALUES['in_reply_to']}>"
    assert NOTE not in text


def test_a_release_carries_all_it_was_given(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    message, text, page = read(letters.release(press_room, story, "nb"))
    assert message["Subject"] == story.title
    words = [
        *("Båten er hjemme igjen", "17. mai 2025", "Etter 90 år er «Ørnen» tilbake ved kai."),
        *("ÅLESUND — Skuta ble funnet", "Ved kai.", "Foto: Per Ås", "Kilde: Havnebladet"),
        *("Nøkkelord: Skip, Kulturarv", "Liv Øye, Direktør", "liv@museet.example"),
        *("+47 70 00 00 01", "Tegninger (PDF)", "Ny brygge", "1. mars 2025"),
        *("Siste pressemeldinger fra Sjøfartsmuseet i Ålesund", "Besøk vårt presserom"),
        *("Du kan melde deg av når som helst.", "Les i nettleseren"),
    ]
    flat = " ".join(text.split())
    assert [word for word in words if word not in flat] == []
    assert [word for word in words if word not in page.text] == []
    links = [
        *("https://havn.example/funn", "https://havn.example/blad", "https://museet.example"),
        *("https://museet.example/tegning.pdf", "https://museet.example/nytt/skuta"),
        *("https://museet.example/nytt/brygge", press_room.page_url, UNSUBSCRIBE),
    ]
    assert [link for link in links if link not in text.split()] == []
    assert [link for link in links if link not in page.links] == []
    assert "mailto:liv@museet.example" in page.links
    assert "tel:+4770000001" in page.links
    assert page.pictures[0]["alt"] == "Skuta"
    assert "Bilde: Skuta" in text


def test_every_picture_is_shown_the_first_one_at_the_head(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    more = (
        Image("https://museet.example/kai.jpg", "Kaia", 320, 213, "Kaia er ny.", "Liv Øye"),
        Image("https://museet.example/mast.jpg", "Masta"),
    )
    _, text, page = read(letters.release(press_room, replace(story, images=more), "nb"))
    assert [picture["alt"] for picture in page.pictures] == ["Skuta", "Kaia", "Masta"]
    assert [(one["width"], one.get("height")) for one in page.pictures] == [
        ("520", "347"),
        ("320", "213"),
        ("520", None),
    ]
    for shown in (text, page.text):
        assert "Kaia er ny." in shown
        assert "Foto: Liv Øye" in shown
    assert text.index("Bilde: Skuta") < text.index("Bilde: Kaia") < text.index("Bilde: Masta")
    assert "https://museet.example/mast.jpg" in text.split()


@pytest.mark.parametrize(("locale", "size"), [("nb", "1,2\xa0MB"), ("en", "1.2\xa0MB")])
def test_a_document_says_how_large_it_is(
    letters: Letters, press_room: PressRoom, story: Story, locale: str, size: str
) -> None:
    told = replace(story, documents=(Document("Plan", "https://museet.example/a.pdf", 1_234_567),))
    _, text, page = read(letters.release(press_room, told, locale))
    assert f"Plan – PDF, {size}" in text
    assert f"Plan PDF, {size}".replace("\xa0", " ") in page.text


def test_a_press_room_may_have_a_logo_and_a_colour(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    dressed = replace(press_room, logo_url="https://museet.example/logo.png", accent="#7a1f3d")
    for kind in KINDS:
        composed = write(letters, kind, dressed, story, "nb")
        _, _, page = read(composed)
        html = part(parse(composed.fill(VALUES)), "html")
        assert page.pictures[0]["src"] == dressed.logo_url
        assert page.pictures[0]["alt"] == dressed.name
        assert "#7a1f3d" in html
        assert "#0b5394" not in html


def test_sharing_needs_no_service_of_ours(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    _, _, page = read(letters.release(press_room, story, "nb"))
    shared = {}
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme == "mailto" and not parts.path:
            shared["mail"] = parse_qs(parts.query)
        elif parts.hostname in ("x.com", "www.linkedin.com", "www.facebook.com"):
            shared[parts.hostname] = parse_qs(parts.query)
    assert shared == {
        "mail": {"subject": [story.title], "body": [story.web_url]},
        "x.com": {"text": [story.title], "url": [story.web_url]},
        "www.linkedin.com": {"url": [story.web_url]},
        "www.facebook.com": {"u": [story.web_url]},
    }


def test_a_long_release_is_shown_whole_by_gmail(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    """Gmail cuts a letter off at 102 kB, and with it the way to leave."""
    words = "Bøttene er fulle, og bærene er større enn noen kan huske. " * 12
    paragraph = f"<h2>Bær</h2><p>{words}</p><ul><li>{words}</li></ul>"
    assert story.image is not None
    long = replace(
        story, body_html=paragraph * 25, images=(story.image,) * 10, documents=story.documents * 10
    )
    html = part(parse(letters.release(press_room, long, "nb").fill(VALUES)), "html")
    assert len(words) * 2 * 25 > 30_000
    assert len(html.encode()) < 102_000


def test_what_is_absent_leaves_no_trace(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    bare = Story("nb", "Tittel", "<p>Tekst.</p>", story.published_at)
    composed = letters.release(replace(press_room, website_url=None), bare, "nb")
    _, text, page = read(composed)
    traces = ["Foto", "Bilde", "Kilde", "Nøkkelord", "Kontakt:", "Dokumenter", "Del", "Siste"]
    traces += ["Les i nettleseren", "None"]
    assert [trace for trace in traces if re.search(rf"\b{trace}", text + page.text)] == []
    assert page.pictures == []
    assert set(page.links) == {press_room.page_url, UNSUBSCRIBE, MANAGE}
    assert "\n\n\n" not in text
    assert "<p></p>" not in part(parse(composed.fill(VALUES)), "html")


@pytest.mark.parametrize("name", [f.name for f in fields(Image) if f.name != "url"])
def test_a_picture_may_lack_anything_but_itself(
    letters: Letters, press_room: PressRoom, story: Story, name: str
) -> None:
    assert story.image is not None
    lacking = replace(story, image=replace(story.image, **{name: cast("Any", None)}))
    _, text, page = read(letters.release(press_room, lacking, "nb"))
    assert page.pictures[0]["src"] == story.image.url
    assert page.pictures[0]["alt"] == ("" if name == "alt" else "Skuta")
    assert "None" not in text + page.text


def test_the_frame_is_the_recipients_and_the_story_its_own(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    arabic = replace(story, language="ar", title="عودة السفينة", body_html="<p>نص</p>", lead=None)
    composed = letters.release(press_room, arabic, "en")
    message, text, page = read(composed)
    assert message["Content-Language"] == "ar, en"
    assert message["Subject"] == "عودة السفينة"
    assert "17\xa0May\xa02025" in text
    assert page.languages[0] == "en"
    assert "ar" in page.languages
    html = part(parse(composed.fill(VALUES)), "html")
    assert re.search(r'<div[^>]* dir="rtl"[^>]*>\s*<h1', html)
    assert re.match(r'<!DOCTYPE html>\s*<html lang="en" dir="ltr"', html)


def test_a_locale_without_a_catalogue_falls_back_to_the_press_rooms(
    letters: Letters, press_room: PressRoom
) -> None:
    assert parse(letters.confirm(press_room, "fr").fill(VALUES))["Content-Language"] == "nb"
    assert parse(letters.confirm(press_room, "nn-NO").fill(VALUES))["Content-Language"] == "nn"


@pytest.mark.parametrize(
    "text",
    [
        "{{ config }}",
        "{% for x in y %}",
        "%(name)s 100 %",
        "<script>alert(1)</script>",
        '"><img src=x onerror=y>',
        "a & b",
        "</title></style>",
    ],
)
def test_text_is_never_a_template_and_never_markup(
    letters: Letters, press_room: PressRoom, story: Story, text: str
) -> None:
    room = replace(press_room, name=text)
    told = replace(
        story,
        title=text,
        lead=text,
        keywords=(text,),
        source=Source(text, None),
        image=Image("https://museet.example/skute.jpg", text, None, None, text, text),
        contacts=(Contact(text, text, None, None),),
        documents=(Document(text, "https://museet.example/d"),),
    )
    message, plain, page = read(letters.release(room, told, "nb"))
    assert message["Subject"] == text
    assert plain.count(text) >= 11
    assert page.text.count(text) >= 11
    assert page.tags.isdisjoint({"script"})
    assert len(page.pictures) == 1


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(
    st.text(
        st.one_of(st.characters(), st.sampled_from("\r\n\0\u202e\u2066\u2028\x85æøå🎉北ش.=")),
        max_size=200,
    )
)
def test_no_text_makes_a_letter_that_cannot_be_sent(
    letters: Letters, press_room: PressRoom, story: Story, text: str
) -> None:
    told = replace(story, title=f"T{text}", lead=text, keywords=(text,), body_html=f"<p>{text}</p>")
    room = replace(press_room, name=f"N{text}")
    message = letters.release(room, told, "nb").fill(VALUES)
    assert message.isascii()
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|^\.", message, re.MULTILINE)
    assert max(map(len, message.split(b"\r\n"))) <= 998
    parsed = parse(message)
    assert parsed.keys() == parse(letters.release(press_room, story, "nb").fill(VALUES)).keys()
    assert not re.search("[\u202a-\u202e\u2066-\u2069\r\n\0]", parsed["Subject"])


def test_directional_characters_end_with_the_text_they_are_in(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    told = replace(story, keywords=("\u202eevil", "\u2067good"), title="a\u202eb\u200fc")
    message, text, page = read(letters.release(press_room, told, "nb"))
    assert "Nøkkelord: evil, good" in text
    assert "Nøkkelord: evil, good" in page.text
    assert message["Subject"] == "ab\u200fc"  # a mark has no end to miss


def test_control_characters_in_a_story_are_left_out(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    told = replace(story, body_html="<p>be\0fore\x08 \x1bafter</p>", lead="le\0ad")
    _, text, page = read(letters.release(press_room, told, "nb"))
    for body in (text, page.text):
        assert "before after" in body
        assert "lead" in body


def test_a_template_may_use_nothing_undefined(press_room: PressRoom, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "emails" / "confirm" / "body.txt").write_text("{{ mistyped }}")
    with pytest.raises(UndefinedError, match="mistyped"):
        Letters(tmp_path, LINKS).confirm(press_room, "nb")


def test_every_attempt_is_the_same_message(
    letters: Letters, press_room: PressRoom, story: Story
) -> None:
    again = letters.release(press_room, story, "nb").fill(VALUES)
    assert letters.release(press_room, story, "nb").fill(VALUES) == again


def test_the_real_release_arrives_whole(letters: Letters) -> None:
    publisher = json.loads((SEED / "publisher.json").read_text())
    release = json.loads((SEED / "release.json").read_text())
    room = PressRoom(
        name=publisher["name"],
        from_address=publisher["from_address"],
        locale=publisher["locale"],
        page_url=f"https://follow.example.com/{publisher['slug']}/",
        website_url=publisher["website_url"],
        list_id=f"{publisher['slug']}.follow.example.com",
    )
    message, text, page = read(letters.release(room, _story(release), "nb"))
    assert message["Subject"] == release["title"]
    flat = " ".join(text.split())
    paragraphs = [
        " ".join(plain_text(paragraph).split()) for paragraph in release["body_html"].splitlines()
    ]
    words = [
        *paragraphs,
        *(release["title"], "13. november 2025", release["image"]["caption"]),
        *(f"Foto: {release['image']['credit']}", f"Kilde: {release['source']['text']}"),
        *("Nøkkelord: Afghanistan, EU, Sentral-Asia", "Pressekontakt, Ambassaden"),
        *("presse@example.org", "+47 00 00 00 00", "Pressemelding (PDF)", publisher["name"]),
    ]
    assert len(paragraphs) == 5
    assert [word for word in words if word not in flat] == []
    assert [word for word in words if word not in page.text] == []
    links = [release["source"]["url"], release["web_url"], release["documents"][0]["url"]]
    assert [link for link in links if link not in text.split()] == []
    assert [link for link in links if link not in page.links] == []
    assert page.pictures[0]["src"] == release["image"]["url"]
    assert page.pictures[0]["alt"] == release["image"]["alt"]
    # What the page itself says around the release, in its own words.
    for phrase in ("I vårt presserom finner du alle våre siste", "Besøk vårt presserom"):
        assert phrase in (SEED / "page-nb.txt").read_text()
        assert phrase in flat
        assert phrase in page.text


if not SEED.is_dir():
    # The page of a real press room is not part of the project.
    del test_the_real_release_arrives_whole


def _story(release: dict[str, Any]) -> Story:
    return Story(
        language=release["language"],
        title=release["title"],
        body_html=release["body_html"],
        image=Image(**release["image"]),
        source=Source(**release["source"]),
        keywords=tuple(release["keywords"]),
        contacts=tuple(Contact(**contact) for contact in release["contacts"]),
        documents=tuple(Document(**document) for document in release["documents"]),
        web_url=release["web_url"],
        published_at=datetime.fromisoformat(release["published_at"]),
    )
