"""What a letter must have: every part of its release, its links, and one-click headers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mailer.demo.console_output import StepFailed
from mailer.demo.http_client import Html
from mailer.demo.inbox import Mail
from mailer.demo.samples import Release

_NOT_SHOWN = {"reference", "language", "body_html", "note", "published_at"}


def check_parts(mail: Mail, release: Release) -> None:
    """Raise StepFailed unless a letter has every part of a release, in HTML and plain text."""
    html, plain = Html(mail.body("html")), _squeezed(mail.body("plain"))
    body, parts = Html(release["body_html"]), texts(release)
    links = [part for part in parts + body.links if part.startswith("http")]
    words = [part for part in [*parts, body.text] if not part.startswith("http")]
    missing = list(Counter(links) - Counter(html.links))
    missing += [part for part in words if _squeezed(part) not in _squeezed(html.text)]
    missing += [f"{part} (in plain text)" for part in parts if _squeezed(part) not in plain]
    if mail.message["Subject"] != release["title"]:
        missing.append("the headline as its subject")
    if missing:
        raise StepFailed(f"The letter to {mail.recipient} lacks: {'; '.join(missing)}")


def texts(value: Any) -> list[str]:
    """Return every text and every link of a release that its letters show."""
    if isinstance(value, dict):
        value = [part for name, part in value.items() if name not in _NOT_SHOWN]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


def find_link(mail: Mail, beginning: str) -> str:
    """Return the link of a letter that begins so, in HTML and in plain text."""
    for link in Html(mail.body("html")).links:
        if link.startswith(beginning) and link in mail.body("plain"):
            return link
    raise StepFailed(f"“{mail.message['Subject']}” lacks a link to {beginning} in HTML or as text.")


def one_click(mail: Mail) -> tuple[str, bytes]:
    """Return the address and the data with which mail programs unsubscribe (RFC 8058)."""
    headers = {name: mail.message[name] for name in ("List-Unsubscribe", "List-Unsubscribe-Post")}
    link, data = (str(value) for value in headers.values())
    if not link.startswith("<http") or data != "List-Unsubscribe=One-Click":
        raise StepFailed(f"“{mail.message['Subject']}” has the headers {headers}.")
    return link.strip("<>"), data.encode()


def _squeezed(text: str) -> str:
    return "".join(text.casefold().split())
