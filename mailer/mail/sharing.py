"""Links that do something elsewhere: pass a story on, write to somebody, call somebody."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode


def share_links(title: str, url: str) -> dict[str, str]:
    """Return plain links for passing a story on; nobody learns who followed them."""
    return {
        "email": f"mailto:?{urlencode({'subject': title, 'body': url}, quote_via=quote)}",
        "x": "https://x.com/intent/post?" + urlencode({"text": title, "url": url}, quote_via=quote),
        "linkedin": f"https://www.linkedin.com/sharing/share-offsite/?{urlencode({'url': url})}",
        "facebook": f"https://www.facebook.com/sharer/sharer.php?{urlencode({'u': url})}",
    }


def mailto(address: str) -> str:
    """Return the link that writes to an address (RFC 6068)."""
    return "mailto:" + quote(address, safe="@")


def tel(phone: str) -> str:
    """Return the link that calls a number, whatever stands between its digits (RFC 3966)."""
    return "tel:" + re.sub(r"[^+\d]", "", phone)
