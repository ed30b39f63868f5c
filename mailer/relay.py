"""Values that settings hold as text: the SMTP relay and the DKIM keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from email_validator import EmailNotValidError, validate_email
from pydantic import BaseModel, ConfigDict, Field

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_NO_PATH = ("", "/")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DKIM_KEY = re.compile(rf"({_LABEL}(?:\.{_LABEL})+):({_LABEL}(?:\.{_LABEL})*):(.+)", re.IGNORECASE)
# With a local part of 64 octets and the @, an address then has 254 octets (RFC 5321, 4.5.3.1).
_DOMAIN_OCTETS = 189
# Key sizes that every verifier accepts (RFC 8301, 3.2) and that are safe from attack.
_RSA_BITS = range(2048, 4097)


def url_parts(url: str) -> SplitResult:
    """Split a URL; raises ValueError without the text of urllib, which may quote the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "is no URL; in a user or a password, write / as %2F, ? as %3F, @ as %40, : as %3A"
        ) from None
    return parts


def domain_name(text: str) -> str:
    """Return a domain that mail can be sent to, in lower case and A-labels; raises ValueError."""
    try:
        address = validate_email(f"a@{text}", check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise ValueError("must be a domain, such as in.example.org") from None
    name = address.ascii_domain.lower()
    if "." not in name or len(name) > _DOMAIN_OCTETS:
        raise ValueError(f"must be a domain of two labels or more, up to {_DOMAIN_OCTETS} octets")
    return name


class Relay(BaseModel):
    """The SMTP server that takes our messages, and how to connect to it."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int
    security: Literal["none", "starttls", "tls"]
    user: str | None = None
    password: str | None = Field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read `smtp://` or `smtps://`, user, password, `?starttls=require`; raises ValueError."""
        parts = url_parts(url)
        if (
            parts.scheme not in ("smtp", "smtps")
            or not parts.hostname
            or parts.path not in _NO_PATH
        ):
            raise ValueError("must look like smtp://user:password@host:587?starttls=require")
        if parts.query not in ("", "starttls=require"):
            raise ValueError("knows one option only, ?starttls=require")
        query = bool(parts.query)
        implicit = parts.scheme == "smtps"
        if parts.username and not (implicit or query or parts.hostname in LOOPBACK):
            raise ValueError("would send its password in the clear: add ?starttls=require")
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if implicit else 587 if query else 25),
            security="tls" if implicit else "starttls" if query else "none",
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


class DkimKey(BaseModel):
    """A key that signs letters; its public half is in DNS, below the domain, at the selector."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    domain: str
    selector: str
    private_key: RSAPrivateKey | Ed25519PrivateKey = Field(repr=False)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `domain:selector:/path/to/private.pem`, and the file; raises ValueError."""
        parts = _DKIM_KEY.fullmatch(text)
        if not parts:
            raise ValueError(
                "must look like example.org:selector:/path/to/private.pem, comma-separated"
            )
        domain, selector, path = parts.groups()
        mistake = f"the file of the selector {selector} "
        try:
            key = load_pem_private_key(Path(path).read_bytes(), password=None)
        except OSError as error:
            raise ValueError(f"{mistake}cannot be read ({error.strerror})") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError(f"{mistake}is no private key in PEM without a password") from None
        if isinstance(key, Ed25519PrivateKey) or (
            isinstance(key, RSAPrivateKey) and key.key_size in _RSA_BITS
        ):
            return cls(domain=domain.lower(), selector=selector, private_key=key)
        raise ValueError(f"{mistake}must hold RSA of 2048 to 4096 bits, or Ed25519")


def read_dkim_keys(text: object) -> object:
    """Read comma-separated keys; a value that is no text is left to pydantic. Raises ValueError."""
    if not isinstance(text, str):
        return text
    keys = tuple(DkimKey.from_text(one.strip()) for one in text.split(","))
    if len({(key.domain, key.selector.lower()) for key in keys}) < len(keys):
        raise ValueError("names a selector twice, but DNS has one key for each")
    return keys
