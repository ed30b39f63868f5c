"""Metadata of a release's page for programs: OpenGraph, and NewsArticle of schema.org."""

from __future__ import annotations

from typing import Any

from babel import Locale, UnknownLocaleError
from babel.core import get_global

from mailer.domain.releases.press_rooms import Published, changed_at
from mailer.mail.content import Story
from mailer.mail.locales import translations
from mailer.storage.models import Publisher
from mailer.web.pages import get_locale


def open_graph(found: Published, story: Story, url: str) -> list[tuple[str, str]]:
    """Return the properties from which other sites make a link preview (ogp.me), in order."""
    title = story.title
    picture = None if found.withdrawn_at else story.image
    if found.withdrawn_at:
        title = translations(get_locale()).gettext("Withdrawn: %(title)s") % {"title": title}
    properties = [
        ("og:type", "article"),
        ("og:title", title),
        ("og:description", story.lead),
        ("og:url", url),
        ("og:site_name", found.publisher.name),
        ("og:locale", _locale(story.language)),
        ("og:image", picture and picture.url),
        ("og:image:alt", picture and picture.alt),
        ("og:image:width", picture and picture.width),
        ("og:image:height", picture and picture.height),
        ("article:published_time", story.published_at.isoformat()),
        ("article:modified_time", changed_at(found.release).isoformat()),
        *(("article:tag", keyword) for keyword in story.keywords),
    ]
    return [(name, str(content)) for name, content in properties if content]


def news_article(found: Published, story: Story, url: str) -> dict[str, Any] | None:
    """Return the release as JSON-LD, or None if it was retracted."""
    if found.withdrawn_at:
        return None
    organisation = _organisation(found.publisher)
    article = {
        "@context": "https://schema.org",
        "@type": "NewsArticle",
        "headline": story.title,
        "description": story.lead,
        "datePublished": story.published_at.isoformat(),
        "dateModified": changed_at(found.release).isoformat(),
        "inLanguage": story.language,
        "mainEntityOfPage": url,
        "image": [picture.url for picture in story.pictures],
        "keywords": list(story.keywords),
        "author": organisation,
        "publisher": organisation,
    }
    return {name: value for name, value in article.items() if value}


def _organisation(publisher: Publisher) -> dict[str, str]:
    properties = {
        "@type": "Organization",
        "name": publisher.name,
        "url": publisher.website_url,
        "logo": publisher.logo_url,
    }
    return {name: value for name, value in properties.items() if value}


def _locale(language: str) -> str | None:
    """Return a language tag in OpenGraph's form, such as nb_NO; None if Babel does not know it."""
    likely = get_global("likely_subtags").get(language, language)
    try:
        locale = Locale.parse(likely.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return None
    return f"{locale.language}_{locale.territory}" if locale.territory else None
