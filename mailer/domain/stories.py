"""Stories: rows and validated releases handed over to the letters, as plain values."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from mailer.domain.content import ReleaseBody
from mailer.mail import letters
from mailer.storage.models import Publisher


def story_of(
    body: ReleaseBody, published_at: datetime, latest: tuple[letters.Headline, ...] = ()
) -> letters.Story:
    """Hand a validated release over to the letters."""
    return letters.Story(
        language=body.language,
        title=body.title,
        lead=body.lead,
        body_html=body.body_html,
        image=letters.Image(**body.image.model_dump()) if body.image else None,
        images=tuple(letters.Image(**image.model_dump()) for image in body.images),
        source=letters.Source(**body.source.model_dump()) if body.source else None,
        keywords=body.keywords,
        contacts=tuple(letters.Contact(**contact.model_dump()) for contact in body.contacts),
        documents=tuple(letters.Document(**document.model_dump()) for document in body.documents),
        web_url=body.web_url,
        published_at=published_at,
        latest=latest,
    )


def press_room_of(publisher: Publisher, base_url: str) -> letters.PressRoom:
    """Describe a publisher to the letters, on the service at this address."""
    host = urlsplit(base_url).hostname or "localhost"
    return letters.PressRoom(
        name=publisher.name,
        from_address=publisher.from_address,
        locale=publisher.locale,
        page_url=f"{base_url}/{publisher.slug}/",
        website_url=publisher.website_url,
        list_id=f"{publisher.slug}.{host}",
        logo_url=publisher.logo_url,
        accent=publisher.accent,
    )


def links_under(base_url: str, *, mailto: bool = False) -> letters.Links:
    """Say where the links of letters begin, on the service at this address."""
    return letters.Links(
        confirm=f"{base_url}/confirm/",
        unsubscribe=f"{base_url}/unsubscribe/",
        one_click=f"{base_url}/one-click/",
        manage=f"{base_url}/manage/",
        your_data=f"{base_url}/your-data/",
        mailto=mailto,
    )
