"""Checks of each request: its Host and its form; and what is stored of it as evidence."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from math import inf
from urllib.parse import unquote_to_bytes, urlsplit

from flask import request
from flask.blueprints import BlueprintSetupState
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from mailer.domain.followers.subscriptions import Evidence
from mailer.relay import LOOPBACK
from mailer.web import web
from mailer.web.pages import get_locale, settings

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
LARGEST_FORM = 16 * 1024

_MACHINE_BLUEPRINTS = {"api", "health"}
_PREFIX = {4: 24, 6: 64}
_TELL_SECONDS, _SHOWN = 60, 80
_told: dict[str, float] = {}
"""When the log was last told of a foreign host: anybody can send one."""
_WITH_PORT = re.compile(r"\[|[0-9.]+:[0-9]*$")


log = logging.getLogger(__name__)


@web.record_once
def _keep_double_slashes(state: BlueprintSetupState) -> None:
    """Disable Werkzeug's redirect to the path without double slashes, which trusts any Host."""
    state.app.url_map.merge_slashes = False


@web.before_app_request
def refuse_forged_host() -> None:
    """Raise 400 unless Host is that of BASE_URL, a former one or loopback.

    The API and health checks take any.
    """
    if request.blueprint in _MACHINE_BLUEPRINTS:
        return
    own = urlsplit(settings().base_url).hostname
    name = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
    if name in {own, *settings().former_hosts, *LOOPBACK}:
        return
    if time.monotonic() - _told.get("host", -inf) >= _TELL_SECONDS:
        _told["host"] = time.monotonic()
        log.warning(
            "A request for the host %r was refused, since BASE_URL has the host %s. If a proxy "
            "stands in front, let it pass on the Host of the visitor.",
            name[:_SHOWN],
            own,
        )
    raise BadRequest


@web.before_request
def limit_form() -> None:
    """Limit the size of the request's body; reading a larger one raises 413."""
    request.max_content_length = LARGEST_FORM


def form() -> MultiDict[str, str]:
    """Return the form's fields; a body that is not a form has none. Raises 400 and 413.

    Invalid UTF-8 is refused: Werkzeug would turn such a byte into the text "%FF", which is valid
    in an address.
    """
    if request.mimetype == "application/x-www-form-urlencoded":
        try:
            unquote_to_bytes(request.get_data()).decode()
        except UnicodeDecodeError:
            raise BadRequest from None
    return request.form


def evidence(page: str) -> Evidence:
    """Return the evidence to store of this request; of the IP address only the network."""
    return Evidence(
        language=get_locale(),
        page=f"{settings().base_url}{page}",
        network=network(request.remote_addr),
    )


def network(address: str | None) -> str | None:
    """Return the network of an IP address, /24 (IPv4) or /64 (IPv6); None for other text."""
    ip = ip_address(address)
    return None if ip is None else network_of(ip, _PREFIX[ip.version])


def network_of(ip: IPAddress, prefix: int) -> str:
    """Return the network of that size which an IP address is in."""
    return str(ipaddress.ip_network((ip, prefix), strict=False))


def ip_address(address: str | None) -> IPAddress | None:
    """Return an IP address, None for other text; one of IPv4 written as IPv6 is one of IPv4.

    Some proxies write the port behind it, and brackets around IPv6.
    """
    host = address or ""
    try:
        if _WITH_PORT.match(host):
            host = urlsplit(f"//{host}").hostname or ""
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        return ip.ipv4_mapped
    return ip
