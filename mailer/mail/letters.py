"""The letters: each has one method here, and a folder of three templates."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path

from css_inline import CSSInliner
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from mailer.mail.colours import ACCENT, on_dark
from mailer.mail.content import (
    PERIODS,
    Links,
    PausedRelease,
    PressRoom,
    ReplacedVersion,
    Story,
    cleaned,
)
from mailer.mail.formats import file_description, mailto, share_links, tel
from mailer.mail.html.plaintext import plain_text, wrap
from mailer.mail.html.width import fit_to_column
from mailer.mail.locales import available, best, direction, long_date, translations
from mailer.mail.message import Composed, compose, slot

_PREHEADER = 140
_AUTOMATIC = ("Auto-Submitted", "auto-generated")  # RFC 3834: asks for no automatic reply
# M3AAWG, draft-levine-mailbomb-header: mail servers notice a flood of such mails, and whose forms
# are used. The visitor's IP address is left out, since only this service needs to know it.
_FROM_A_FORM = ("Form-Sub", "v=1")
_TO_FOLLOWERS = frozenset({"release", "correction", "retraction", "following", "welcome"})

Headers = list[tuple[str, str]]


class Letters:
    """Composes every letter; make one per process, since templates and catalogues are read here.

    Every letter has the slots `to` (an address), `date` (RFC 5322) and `message_id` (without
    angle brackets). A letter to followers also has `unsubscribe_address`, if the links say
    `mailto`. A locale without a catalogue falls back to the press room's own.
    """

    def __init__(self, templates: Path, links: Links) -> None:
        self._catalogues = templates / "locales"
        self._environments = {
            locale: _environment(templates, locale) for locale in available(self._catalogues)
        }
        self._inliner = CSSInliner(
            keep_at_rules=True, minify_css=True, load_remote_stylesheets=False
        )
        # The https link first: mail clients take the first that they understand (RFC 2369, 2).
        self._list_unsubscribe = f"<{links.one_click}{slot('one_click_token')}>"
        if links.mailto:
            self._list_unsubscribe += (
                f", <mailto:{slot('unsubscribe_address')}?subject=unsubscribe>"
            )
        self._urls = {
            "confirm_url": links.confirm + slot("confirm_token"),
            "unsubscribe_url": links.unsubscribe + slot("unsubscribe_token"),
            # The same token: all that both pages change can be undone.
            "manage_url": links.manage + slot("unsubscribe_token"),
            "your_data_url": links.your_data + slot("access_token"),
            "move_url": links.move + slot("move_token"),
        }

    def release(self, press_room: PressRoom, story: Story, locale: str) -> Composed:
        """Compose a release, the frame in `locale`, the story in its own language.

        Slots: `unsubscribe_token`, `one_click_token`.
        """
        return self._release("release", press_room, story, locale, [])

    def correction(
        self, press_room: PressRoom, story: Story, replaced: ReplacedVersion, locale: str
    ) -> Composed:
        """Compose a correction for recipients of the version before, in the thread of that.

        Slots beside those of a release: `in_reply_to` and `thread`, the Message-IDs of the
        version before and of the first one.
        """
        return self._release(
            "correction", press_room, story, locale, _thread(replaced), replaced=cleaned(replaced)
        )

    def retraction(
        self, press_room: PressRoom, story: Story, replaced: ReplacedVersion, locale: str
    ) -> Composed:
        """Compose a retraction for recipients of the version before. Slots: as in a correction."""
        return self._release(
            "retraction", press_room, story, locale, _thread(replaced), replaced=cleaned(replaced)
        )

    def _release(
        self,
        letter: str,
        press_room: PressRoom,
        story: Story,
        locale: str,
        headers: Headers,
        **context: object,
    ) -> Composed:
        story = cleaned(story)
        body_text = plain_text(story.body_html)
        return self._compose(
            letter,
            press_room,
            locale,
            [*headers, ("Precedence", "list"), ("Feedback-ID", _feedback(press_room, story))],
            language=story.language,
            story=story,
            body=Markup(fit_to_column(story.body_html)),  # noqa: S704 - sanitised before it was stored
            body_text=body_text,
            preheader=story.lead or _beginning(body_text),
            share=share_links(story.title, story.web_url) if story.web_url else None,
            **context,
        )

    def confirm(self, press_room: PressRoom, locale: str) -> Composed:
        """Compose the letter that asks to confirm a sign-up. Slot: `confirm_token`."""
        return self._compose("confirm", press_room, locale, [_AUTOMATIC, _FROM_A_FORM])

    def following(
        self,
        press_room: PressRoom,
        since: datetime,
        paused_until: datetime | None,
        locale: str,
    ) -> Composed:
        """Compose the answer to a sign-up of a follower. Slots: as in a welcome."""
        paused = paused_until is not None and paused_until > datetime.now(UTC)
        return self._compose(
            "following",
            press_room,
            locale,
            [_AUTOMATIC, _FROM_A_FORM],
            since=since,
            paused_until=paused_until if paused else None,
        )

    def welcome(self, press_room: PressRoom, locale: str) -> Composed:
        """Compose the letter to a new follower. Slots: `unsubscribe_token`, `one_click_token`."""
        return self._compose("welcome", press_room, locale, [_AUTOMATIC])

    def manage(self, press_room: PressRoom, locale: str) -> Composed:
        """Compose the letter with the link to the subscriber's own data. Slot: `access_token`."""
        return self._compose("manage", press_room, locale, [_AUTOMATIC])

    def goodbye(self, press_room: PressRoom, locale: str) -> Composed:
        """Compose the last letter, with a link to follow again. Slot: `unsubscribe_token`."""
        return self._compose("goodbye", press_room, locale, [_AUTOMATIC])

    def move(self, press_room: PressRoom, names: tuple[str, ...], locale: str) -> Composed:
        """Compose the letter that asks a mailbox to agree to what comes. Slot: `move_token`."""
        return self._compose(
            "move", press_room, locale, [_AUTOMATIC, _FROM_A_FORM], names=cleaned(names)
        )

    def moved(self, press_room: PressRoom, names: tuple[str, ...], locale: str) -> Composed:
        """Compose the letter to the mailbox of before, with the way back. Slot: `move_token`."""
        return self._compose("moved", press_room, locale, [_AUTOMATIC], names=cleaned(names))

    def notice(
        self, press_room: PressRoom, paused: tuple[PausedRelease, ...], locale: str
    ) -> Composed:
        """Compose the letter to the press room that lists its paused releases."""
        slug = press_room.list_id.partition(".")[0]
        return self._compose(
            "notice", press_room, locale, [_AUTOMATIC], paused=cleaned(paused), slug=slug
        )

    def _compose(
        self,
        letter: str,
        press_room: PressRoom,
        locale: str,
        headers: Headers,
        language: str | None = None,
        **context: object,
    ) -> Composed:
        press_room = cleaned(press_room)
        locale = best(locale, press_room.locale, self._catalogues)
        environment = self._environments[locale]
        context |= self._urls | PERIODS | {"press_room": press_room, "locale": locale}
        accent = press_room.accent or ACCENT
        context |= {"accent": accent, "accent_on_dark": on_dark(accent)}
        context |= {"side": _side(locale), "story_side": _side(language or locale)}
        subject = environment.get_template(f"{letter}/subject.txt").render(context).strip()
        text = environment.get_template(f"{letter}/body.txt").render(context)
        html = environment.get_template(f"{letter}/body.html").render(context, subject=subject)
        sender = f"{press_room.name} <{press_room.from_address}>"
        languages = dict.fromkeys((language or locale, locale))
        common_headers = [
            ("From", sender),
            ("To", f"<{slot('to')}>"),
            ("Subject", subject),
            ("Date", slot("date")),
            ("Message-ID", f"<{slot('message_id')}>"),
            ("Reply-To", sender),
            ("Content-Language", ", ".join(tag.replace("_", "-") for tag in languages)),
        ]
        if letter in _TO_FOLLOWERS:
            headers = [*self._list_headers(press_room), *headers]
        return compose([*common_headers, *headers], _tidy_text(text), self._tidy_html(html))

    def _list_headers(self, press_room: PressRoom) -> Headers:
        """Return the headers that name the list and how to unsubscribe (RFC 2919, 2369, 8058)."""
        return [
            ("List-Id", f"{press_room.name} <{press_room.list_id}>"),
            ("List-Unsubscribe", self._list_unsubscribe),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("List-Archive", f"<{press_room.page_url}>"),
        ]

    def _tidy_html(self, html: str) -> str:
        """Inline the styles, and drop the indentation of the templates."""
        lines = map(str.strip, self._inliner.inline(html).split("\n"))
        return "\n".join(filter(None, lines)) + "\n"


def preload(templates: Path) -> None:
    """Read every template and locale now, so that processes forked later need not."""
    for locale in available(templates / "locales"):
        long_date(datetime.now(UTC), locale)
        environment = _environment(templates, locale)
        for name in environment.list_templates(extensions=("txt", "html")):
            environment.get_template(name)


def _tidy_text(text: str) -> str:
    """Reduce the blank lines that absent sections leave to one."""
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


@lru_cache(maxsize=32)
def _environment(templates: Path, locale: str) -> Environment:
    """Return a locale's Jinja environment; only `.html` is escaped, and undefined names raise."""
    environment = Environment(
        loader=FileSystemLoader(templates / "emails"),
        autoescape=select_autoescape(("html",), default=False),
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["ext.i18n.trimmed"] = True
    # A method that the extension adds while the program runs.
    environment.install_gettext_translations(  # type: ignore[attr-defined]
        translations(locale, templates / "locales"), newstyle=True
    )
    environment.filters["long_date"] = partial(long_date, locale=locale)
    environment.filters["file_description"] = partial(file_description, locale=locale)
    environment.filters["direction"] = direction
    environment.filters["wrap"] = wrap
    environment.filters["mailto"] = mailto
    environment.filters["tel"] = tel
    return environment


def _side(language: str) -> str:
    """Return the side on which the lines of a language begin: left or right."""
    return "right" if direction(language.replace("_", "-")) == "rtl" else "left"


def _beginning(text: str) -> str:
    """Return the beginning of a story, which an inbox shows beside the subject."""
    paragraph = re.sub(r" \[\d+\]", "", text.partition("\n\n")[0])
    return textwrap.shorten(paragraph, _PREHEADER, placeholder=" …")


def _thread(replaced: ReplacedVersion) -> Headers:
    """Return the headers that thread a message under the one it replaces (RFC 5322, 3.6.4)."""
    before = f"<{slot('in_reply_to')}>"
    references = before if replaced.number == 1 else f"<{slot('thread')}> {before}"
    return [("In-Reply-To", before), ("References", references)]


def _feedback(press_room: PressRoom, story: Story) -> str:
    """Return the Feedback-ID, by which mailbox providers count complaints: day, then press room."""
    slug = press_room.list_id.partition(".")[0]
    return f"{story.published_at:%Y%m%d}:{slug}:release:mailer"
