"""The settings: each variable typed, explained, and read from the environment once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from mailer.errors import Misconfigured

_PACKAGE = Path(__file__).parent
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SECRET_LENGTH = 32
_NO_PATH = ("", "/")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DKIM_KEY = re.compile(rf"({_LABEL}(?:\.{_LABEL})+):({_LABEL}(?:\.{_LABEL})*):(.+)", re.IGNORECASE)
# What every verifier takes (RFC 8301, 3.2), and nobody breaks.
_RSA_BITS = range(2048, 4097)


def _folder(name: str) -> Path:
    """Find a folder that the wheel carries inside the package and a checkout beside it."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


TEMPLATES = _folder("templates")
MIGRATIONS = _folder("migrations")


def _parts(url: str) -> SplitResult:
    """Take a URL apart; what urllib says about one that has no port tells the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "is no URL; in a user or a password, write / as %2F, ? as %3F, @ as %40, : as %3A"
        ) from None
    return parts


class Relay(BaseModel):
    """Where messages are handed over: the SMTP server and how to speak to it."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int
    security: Literal["none", "starttls", "tls"]
    user: str | None = None
    password: str | None = Field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read `smtp://` or `smtps://`, with user and password, and `?starttls=require`."""
        parts = _parts(url)
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
        """Read `domain:selector:/path/to/private.pem`, and the file."""
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


def _dkim_keys(text: object) -> object:
    if not isinstance(text, str):
        return text
    keys = tuple(DkimKey.from_text(one.strip()) for one in text.split(","))
    if len({(key.domain, key.selector.lower()) for key in keys}) < len(keys):
        raise ValueError("names a selector twice, but DNS has one key for each")
    return keys


def _database_url(url: str) -> str:
    _parts(url)
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
    return url


def _redis_url(url: str) -> str:
    _parts(url)
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    return url


def _base_url(url: str) -> str:
    parts = _parts(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError("must be the address visitors use, such as https://follow.example.org")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("must be https, because its links carry the right to confirm and leave")
    return url.rstrip("/")


def _keys(text: object) -> object:
    return tuple(key.strip() for key in text.split(",")) if isinstance(text, str) else text


def _strong(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys or any(len(key) < _SECRET_LENGTH for key in keys):
        raise ValueError(
            f"needs one or more secrets of {_SECRET_LENGTH} characters, comma-separated, newest "
            "first; make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return keys


class Settings(BaseModel):
    """The contract with the environment; the description of each field is its documentation."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        alias="DATABASE_URL",
        repr=False,
        description="sqlite:///path for one machine, or postgresql+psycopg://user@host/name.",
    )
    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = Field(
        default=None,
        alias="REDIS_URL",
        repr=False,
        description="Where doorbells are rung; without it, workers look for work every second.",
    )
    relay: Annotated[
        Relay, BeforeValidator(lambda url: Relay.from_url(url) if isinstance(url, str) else url)
    ] = Field(
        alias="SMTP_URL",
        description="The SMTP server: smtp:// or smtps://, user, password, ?starttls=require.",
    )
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        alias="BASE_URL",
        description="The address of the web process as visitors see it; https, but on loopback.",
    )
    secret_keys: Annotated[tuple[str, ...], BeforeValidator(_keys), AfterValidator(_strong)] = (
        Field(
            alias="SECRET_KEYS",
            repr=False,
            description="Sign every link, newest first. Keep old ones: unsubscribe links are "
            "verified by every key ever used, for ever.",
        )
    )
    connections: int = Field(
        default=16,
        ge=1,
        le=256,
        alias="MAILER_CONNECTIONS",
        description="SMTP connections a worker process holds open while a release goes out.",
    )
    lease_seconds: int = Field(
        default=60,
        ge=2,
        le=3600,
        alias="MAILER_LEASE_SECONDS",
        description="How long a batch belongs to a worker that gives no sign of life.",
    )
    retry_seconds: int = Field(
        default=300,
        ge=1,
        le=86_400,
        alias="MAILER_RETRY_SECONDS",
        description="The first wait after a temporary refusal; each further one doubles.",
    )
    smtp_timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=600,
        alias="MAILER_SMTP_TIMEOUT_SECONDS",
        description="The longest wait for any SMTP reply, below the limits of RFC 5321.",
    )
    follows_a_minute: int = Field(
        default=10,
        ge=1,
        le=100_000,
        alias="MAILER_FOLLOWS_A_MINUTE",
        description="Sign-ups taken from one network (/24 or /64) in a minute.",
    )
    smtputf8: bool = Field(
        default=True,
        alias="MAILER_SMTPUTF8",
        description="Whether the relay reaches addresses with letters beyond ASCII before the @.",
    )
    dkim_keys: Annotated[tuple[DkimKey, ...], BeforeValidator(_dkim_keys)] = Field(
        default=(),
        alias="MAILER_DKIM_KEYS",
        description="The keys that sign letters, each as domain:selector:/path/to/private.pem, "
        "comma-separated; all keys of a sender's domain sign.",
    )
    sweep_seconds: int = Field(
        default=10,
        ge=1,
        le=60,
        alias="MAILER_SWEEP_SECONDS",
        description="How often lost work is looked for.",
    )
    messages_a_second: float | None = Field(
        default=None,
        ge=0.001,
        le=100_000,
        alias="MAILER_MESSAGES_A_SECOND",
        description="How many messages all processes together may send in a second, such as 50 "
        "or 0.5; without it, as many as the relay takes.",
    )
    relay_connections: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        alias="MAILER_RELAY_CONNECTIONS",
        description="How many SMTP connections all processes together may hold; without it, each "
        "holds as many as MAILER_CONNECTIONS says.",
    )
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        le=10,
        alias="MAILER_TRUSTED_PROXIES",
        description="How many proxies before the web process may be believed about the visitor.",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read every setting once; raises Misconfigured with a sentence for each that is off."""
        environment = os.environ if environment is None else environment
        known = {field.alias for field in cls.model_fields.values()}
        given: dict[str, Any] = {
            name: value for name, value in environment.items() if name in known and value != ""
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise Misconfigured(_sentences(error)) from None


def _sentences(error: ValidationError) -> str:
    """Say what is wrong with each variable, by its name, without repeating its value."""
    return "\n".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: "
        + (
            "is not set."
            if problem["type"] == "missing"
            else f"{problem['msg'].removeprefix('Value error, ')}."
        )
        for problem in error.errors(include_input=False, include_url=False)
    )
