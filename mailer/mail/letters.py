"""The letters: one method each, one folder of three templates each."""

from __future__ import annotations

import re
import textwrap
from functools import lru_cache, partial
from pathlib import Path

from css_inline import CSSInliner
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from mailer.mail.colours import ACCENT, on_dark
from mailer.mail.content import (
    Contact,
    Document,
    Headline,
    Image,
    Links,
    PressRoom,
    Replaced,
    Source,
    Story,
    cleaned,
)
from mailer.mail.formats import described, mailto, share_links, tel
from mailer.mail.html_width import fitted
from mailer.mail.locales import available, best, direction, long_date, translations
from mailer.mail.message import Composed, compose, slot
from mailer.mail.plaintext import plain_text, wrap

__all__ = [
    "Contact",
    "Document",
    "Headline",
    "Image",
    "Letters",
    "Links",
    "PressRoom",
    "Replaced",
    "Source",
    "Story",
]

_PREHEADER = 140
_AUTOMATIC = ("Auto-Submitted", "auto-generated")  # RFC 3834: answer machines, keep still
# M3AAWG, draft-levine-mailbomb-header: receivers see a flood of these, and whose forms are used.
# Without the visitor's IP address, which is nobody's business but ours.
_FROM_A_FORM = ("Form-Sub", "v=1")
_TO_FOLLOWERS = frozenset({"release", "correction", "retraction", "welcome"})

Headers = list[tuple[str, str]]


class Letters:
    """Compose every letter; make one per process, since templates and catalogues are read here.

    Every letter has the slots `to` (an address), `date` (RFC 5322) and `message_id` (without
    angle brackets), and whatever goes to followers has `unsubscribe_address` where the links say
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
        # The https one first: mail clients take the first they understand (RFC 2369, 2).
        self._ways_out = f"<{links.one_click}{slot('one_click_token')}>"
        if links.mailto:
            self._ways_out += f", <mailto:{slot('unsubscribe_address')}?subject=unsubscribe>"
        self._addresses = {
            "confirm_url": links.confirm + slot("confirm_token"),
            "unsubscribe_url": links.unsubscribe + slot("unsubscribe_token"),
            # The same right: whatever can be undone.
            "manage_url": links.manage + slot("unsubscribe_token"),
            "your_data_url": links.your_data + slot("access_token"),
        }

    def release(self, press_room: PressRoom, story: Story, locale: str) -> Composed:
        """Compose a release, the frame in `locale`, the story in its own language.

        Slots: `unsubscribe_token`, `one_click_token`.
        """
        return self._release("release", press_room, story, locale, [])

    def correction(
        self, press_room: PressRoom, story: Story, replaced: Replaced, locale: str
    ) -> Composed:
        """Compose the better version for whoever has the one before, under that in its thread.

        Slots beside those of a release: `in_reply_to` and `thread`, the Message-IDs of the
        version before and of the first one.
        """
        return self._release(
            "correction", press_room, story, locale, _thread(replaced), replaced=cleaned(replaced)
        )

    def retraction(
        self, press_room: PressRoom, story: Story, replaced: Replaced, locale: str
    ) -> Composed:
        """Compose the news that a release is taken back. Slots as in a correction."""
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
            body=Markup(fitted(story.body_html)),  # noqa: S704 - sanitised before it was stored
            body_text=body_text,
            preheader=story.lead or _beginning(body_text),
            share=share_links(story.title, story.web_url) if story.web_url else None,
            **context,
        )

    def confirm(self, press_room: PressRoom, locale: str) -> Composed:
        """Compose the question behind a sign-up. Slot: `confirm_token`."""
        return self._compose("confirm", press_room, locale, [_AUTOMATIC, _FROM_A_FORM])

    def welcome(self, press_room: PressRoom, locale: str) -> Composed:
        """Compose the answer to a confirmation. Slots: `unsubscribe_token`, `one_click_token`."""
        return self._compose("welcome", press_room, locale, [_AUTOMATIC])

    def manage(self, press_room: PressRoom, locale: str) -> Composed:
        """Compose the letter with the way to all that is known. Slot: `access_token`."""
        return self._compose("manage", press_room, locale, [_AUTOMATIC])

    def goodbye(self, press_room: PressRoom, locale: str) -> Composed:
        """Compose the last letter, with the way back. Slot: `unsubscribe_token`."""
        return self._compose("goodbye", press_room, locale, [_AUTOMATIC])

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
        context |= self._addresses | {"press_room": press_room, "locale": locale}
        accent = press_room.accent or ACCENT
        context |= {"accent": accent, "accent_on_dark": on_dark(accent)}
        context |= {"side": _side(locale), "story_side": _side(language or locale)}
        subject = environment.get_template(f"{letter}/subject.txt").render(context).strip()
        text = environment.get_template(f"{letter}/body.txt").render(context)
        html = environment.get_template(f"{letter}/body.html").render(context, subject=subject)
        sender = f"{press_room.name} <{press_room.from_address}>"
        get_locale = dict.fromkeys((language or locale, locale))
        envelope = [
            ("From", sender),
            ("To", f"<{slot('to')}>"),
            ("Subject", subject),
            ("Date", slot("date")),
            ("Message-ID", f"<{slot('message_id')}>"),
            ("Reply-To", sender),
            ("Content-Language", ", ".join(tag.replace("_", "-") for tag in get_locale)),
        ]
        if letter in _TO_FOLLOWERS:
            headers = [*self._list_headers(press_room), *headers]
        return compose([*envelope, *headers], _tidy_text(text), self._tidy_html(html))

    def _list_headers(self, press_room: PressRoom) -> Headers:
        """Say which list this is and how to leave it (RFC 2919, 2369, 8058)."""
        return [
            ("List-Id", f"{press_room.name} <{press_room.list_id}>"),
            ("List-Unsubscribe", self._ways_out),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("List-Archive", f"<{press_room.page_url}>"),
        ]

    def _tidy_html(self, html: str) -> str:
        """Move the styles to their elements, and drop the indentation of the templates."""
        return re.sub(r"\s*\n\s*", "\n", self._inliner.inline(html)) + "\n"


def preload(templates: Path) -> None:
    """Read every template now, so that processes that are forked later need not."""
    for locale in available(templates / "locales"):
        environment = _environment(templates, locale)
        for name in environment.list_templates(extensions=("txt", "html")):
            environment.get_template(name)


def _tidy_text(text: str) -> str:
    """Close the gaps that absent sections leave."""
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


@lru_cache(maxsize=32)
def _environment(templates: Path, locale: str) -> Environment:
    """Templates come from files alone; only `.html` is escaped, and nothing may be undefined."""
    environment = Environment(
        loader=FileSystemLoader(templates / "emails"),
        autoescape=select_autoescape(("html",), default=False),
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(  # type: ignore[attr-defined]
        translations(locale, templates / "locales"), newstyle=True
    )
    environment.filters["long_date"] = partial(long_date, locale=locale)
    environment.filters["described"] = partial(described, locale=locale)
    environment.filters["direction"] = direction
    environment.filters["wrap"] = wrap
    environment.filters["mailto"] = mailto
    environment.filters["tel"] = tel
    return environment


def _side(language: str) -> str:
    """Return where the lines of a language begin."""
    return "right" if direction(language.replace("_", "-")) == "rtl" else "left"


def _beginning(text: str) -> str:
    """Return how a story begins, as an inbox shows it beside the subject."""
    paragraph = re.sub(r" \[\d+\]", "", text.partition("\n\n")[0])
    return textwrap.shorten(paragraph, _PREHEADER, placeholder=" …")


def _thread(replaced: Replaced) -> Headers:
    """Put a message under the one it replaces (RFC 5322, 3.6.4)."""
    before = f"<{slot('in_reply_to')}>"
    references = before if replaced.number == 1 else f"<{slot('thread')}> {before}"
    return [("In-Reply-To", before), ("References", references)]


def _feedback(press_room: PressRoom, story: Story) -> str:
    """Return what mailbox providers sum complaints by: the release's day, then the press room."""
    slug = press_room.list_id.partition(".")[0]
    return f"{story.published_at:%Y%m%d}:{slug}:release:mailer"
