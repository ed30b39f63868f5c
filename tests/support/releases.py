"""A release with everything that a release can have."""

from typing import Any

RELEASE: dict[str, Any] = {
    "reference": "blabaer-2026",
    "language": "nb",
    "title": "Rekordår for blåbær på Sørøya",
    "lead": "Aldri før er det plukket så mye.",
    "body_html": "<p>SØRØYA — Bøttene er fulle.</p>",
    "image": {
        "url": "https://example.org/blabaer.jpg",
        "alt": "En bøtte med blåbær",
        "width": 1200,
        "height": 800,
        "caption": "Årets første bøtte.",
        "credit": "Ola Nordmann",
    },
    "images": [{"url": "https://example.org/baer.jpg", "alt": "Bær", "credit": "Kari Nordmann"}],
    "source": {"text": "Sørøya bærlag", "url": "https://example.org/"},
    "keywords": ["bær", "høst"],
    "contacts": [
        {"name": "Ada Ås", "title": "leder", "email": "ada@example.org", "phone": "+47 00 00 00 00"}
    ],
    "documents": [{"title": "Tall (PDF)", "url": "https://example.org/tall.pdf", "size": 340_000}],
    "web_url": "https://example.org/blabaer",
}


def release(**changes: Any) -> dict[str, Any]:
    """Return the release with some fields changed; under another reference, it is sent again."""
    again = {"again": True} if "reference" in changes else {}
    return {**RELEASE, **again, **changes}
