"""What is checked before any page: where it was asked for, and how much was sent."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote_to_bytes, urlsplit

from flask import request
from flask.blueprints import BlueprintSetupState
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from mailer.domain.followers.subscriptions import Evidence
from mailer.web import web
from mailer.web.pages import get_locale, settings

LARGEST_FORM = 16 * 1024

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_OTHER_DOORS = {"api", "health"}
_PREFIX = {4: 24, 6: 64}


@web.record_once
def _mend_no_paths(state: BlueprintSetupState) -> None:
    """Keep werkzeug from redirecting to the same path without double slashes, at any host."""
    state.app.url_map.merge_slashes = False


@web.before_app_request
def refuse_forged_host() -> None:
    """Answer only to our own names; the other doors are also asked by machines, by any name."""
    if request.blueprint in _OTHER_DOORS:
        return
    name = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
    if name not in {urlsplit(settings().base_url).hostname, *_LOOPBACK}:
        raise BadRequest


@web.before_request
def limit_form() -> None:
    """Set how much a form may hold; more is refused when it is read."""
    request.max_content_length = LARGEST_FORM


def form() -> MultiDict[str, str]:
    """Read the form; what cannot be read as one is empty. Raises 400 and 413.

    Werkzeug takes bytes that are no UTF-8 for the text "%FF", and that makes a good address.
    """
    if request.mimetype == "application/x-www-form-urlencoded":
        try:
            unquote_to_bytes(request.get_data()).decode()
        except UnicodeDecodeError:
            raise BadRequest from None
    return request.form


def evidence(page: str) -> Evidence:
    """Return what is kept as proof of this request; of the visitor's IP the network alone."""
    return Evidence(
        language=get_locale(),
        page=f"{settings().base_url}{page}",
        network=network(request.remote_addr),
    )


def network(address: str | None) -> str | None:
    """Return the /24 or /64 an IP address is in, or None if it is none."""
    try:
        ip = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network((ip, _PREFIX[ip.version]), strict=False))
