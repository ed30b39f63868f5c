"""The settings: each variable typed, explained, and read from the environment once."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from mailer.errors import Misconfigured
from mailer.relay import LOOPBACK, DkimKey, Relay, domain_name, read_dkim_keys, url_parts

_PACKAGE = Path(__file__).parent
_SECRET_LENGTH, _DIFFERENT = 32, 8
"""Characters of a secret, and how many of them are different at least, as random ones are."""


def _folder(name: str) -> Path:
    """Find a folder that the wheel carries inside the package and a checkout beside it."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


TEMPLATES = _folder("templates")
MIGRATIONS = _folder("migrations")


def _begins(*beginnings: str) -> AfterValidator:
    def checked(url: str) -> str:
        url_parts(url)
        if not url.startswith(beginnings):
            raise ValueError(f"must begin with {' or '.join(beginnings)}")
        return url

    return AfterValidator(checked)


def _base_url(url: str) -> str:
    parts = url_parts(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in url:
        raise ValueError("must be the address visitors use, such as https://follow.example.org")
    if not url.isascii():
        raise ValueError("must be in ASCII, for headers of letters; a domain then begins with xn--")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must be https, because its links carry the right to confirm and leave")
    if parts.path.strip("/") or parts.fragment:
        raise ValueError("must have no path: the service needs a host of its own")
    return url.rstrip("/#")


def _hosts(text: object) -> object:
    return (
        tuple(domain_name(name.strip()) for name in text.split(","))
        if isinstance(text, str)
        else text
    )


def _keys(text: object) -> object:
    return tuple(key.strip() for key in text.split(",")) if isinstance(text, str) else text


def _strong(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys or any(len(key) < _SECRET_LENGTH or len(set(key)) < _DIFFERENT for key in keys):
        raise ValueError(
            f"needs one or more random secrets of {_SECRET_LENGTH} characters, comma-separated, "
            "newest first; make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return keys


def _strong_key(key: str) -> str:
    return _strong((key,))[0]


def _command(line: str) -> str:
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    if not words:
        raise ValueError("must be a command line, with every quotation mark closed")
    return line


class Settings(BaseModel):
    """The settings, from environment variables; docs/settings.md repeats each description."""

    model_config = ConfigDict(
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        alias_generator=lambda name: f"MAILER_{name.upper()}",
    )

    database_url: Annotated[str, _begins("sqlite:///", "postgresql+psycopg://")] = Field(
        repr=False, alias="DATABASE_URL"
    )
    """sqlite:///path for one machine, or postgresql+psycopg://user@host/name."""
    redis_url: Annotated[str, _begins("redis://", "rediss://", "unix://")] | None = Field(
        None, repr=False, alias="REDIS_URL"
    )
    """Where wake-up jobs are queued; without it, workers look for work every second."""
    relay: Annotated[
        Relay, BeforeValidator(lambda url: Relay.from_url(url) if isinstance(url, str) else url)
    ] = Field(alias="SMTP_URL")
    """The SMTP server: smtp:// or smtps://, user, password, ?starttls=require."""
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(alias="BASE_URL")
    """The address of the web process as visitors see it, without a path; https, but on loopback."""
    secret_keys: Annotated[tuple[str, ...], BeforeValidator(_keys), AfterValidator(_strong)] = (
        Field(repr=False, alias="SECRET_KEYS")
    )
    """Sign every link, newest first. Keep old ones: unsubscribe links are verified by every key
    ever used, for ever."""
    connections: int = Field(16, ge=1, le=256)
    """SMTP connections a worker process holds open while a release goes out."""
    lease_seconds: int = Field(60, ge=2, le=3600)
    """How long a worker keeps a batch without renewing its lease."""
    retry_seconds: int = Field(300, ge=1, le=86_400)
    """The first wait after a temporary refusal; each further one doubles."""
    smtp_timeout_seconds: int = Field(600, ge=1, le=600)
    """The longest wait for any SMTP reply, below the limits of RFC 5321."""
    follows_a_minute: int = Field(10, ge=1, le=100_000)
    """Sign-ups from one address (IPv4) or /64 (IPv6) in a minute whose letters leave at once; ten
    times as many from its /24 or /48. Another 200 wait for their turn."""
    follows_a_minute_in_all: int = Field(600, ge=1, le=1_000_000)
    """Sign-ups taken from everywhere in a minute."""
    follows_an_hour_for_address: int = Field(20, ge=1, le=100_000)
    """Sign-ups of one mailbox in an hour that are looked at; it gets two letters."""
    follows_an_hour_for_domain: int = Field(20, ge=1, le=1_000_000)
    """Sign-ups in an hour with addresses of one mail domain that are not confirmed yet; none for
    large mail providers and for the press room's own domain."""
    follows_an_hour_for_press_room: int = Field(5_000, ge=1, le=1_000_000)
    """Sign-ups for one press room in an hour."""
    smtputf8: bool = True
    """Whether the relay reaches addresses with letters beyond ASCII before the @."""
    dkim_keys: Annotated[tuple[DkimKey, ...], BeforeValidator(read_dkim_keys)] = ()
    """The keys that sign letters, each as domain:selector:/path/to/private.pem, comma-separated;
    all keys of a sender's domain sign."""
    mail_domain: Annotated[str, AfterValidator(domain_name)] | None = None
    """The domain whose mail reaches `mailer inbound`: bounces go there, and followers can leave by
    mail. Without it, bounces go to the press room."""
    erasure_key: Annotated[str, AfterValidator(_strong_key)] | None = Field(None, repr=False)
    """Hashes the addresses of erased subscribers, so that no import brings them back; never change
    it. Without it, no subscriber can be erased on request."""
    keep_ended_days: int = Field(730, ge=1, le=36_500)
    """How long a subscriber is kept after their last subscription has ended."""
    state_dir: Path | None = None
    """A folder that is not restored with the database, where the service notes how far that has
    come, and who has left; by default $STATE_DIRECTORY of systemd, else ~/.local/state/mailer."""
    sweep_seconds: int = Field(10, ge=1, le=60)
    """How many seconds pass between two searches for lost and overdue work."""
    messages_a_second: float | None = Field(None, ge=0.001, le=100_000)
    """How many messages all processes together may send in a second, such as 50 or 0.5; without it,
    as many as the relay takes."""
    relay_connections: int | None = Field(None, ge=1, le=100_000)
    """How many SMTP connections all processes together may hold; without it, each holds as many as
    MAILER_CONNECTIONS says."""
    ehlo_name: Annotated[str, AfterValidator(domain_name)] | None = None
    """What we call ourselves to the relay (EHLO): a name that leads to our address in DNS. Without
    it, as the machine is called."""
    former_hosts: Annotated[tuple[str, ...], BeforeValidator(_hosts)] = ()
    """The hosts that BASE_URL has ever had, comma-separated: links in letters lead there for ever,
    and are answered there. Their names must go on leading here, with https."""
    trusted_proxies: int = Field(0, ge=0, le=10)
    """How many proxies in front of the web process are trusted with the visitor's address and
    scheme."""
    alert_command: Annotated[str, AfterValidator(_command)] | None = Field(None, repr=False)
    """A command that is told on standard input, in one English sentence, what needs the operator,
    such as a release that paused itself; run without a shell, once for each cause, for at most 10
    seconds."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read every setting once; raises Misconfigured with a sentence for each invalid one."""
        environment = os.environ if environment is None else environment
        known = {field.alias for field in cls.model_fields.values()}
        values: dict[str, Any] = {
            name: value for name, value in environment.items() if name in known and value != ""
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise Misconfigured(_sentences(error)) from None


def _sentences(error: ValidationError) -> str:
    """Return a line for each invalid variable: its name and what is wrong, without its value."""
    return "\n".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: "
        + (
            "is not set."
            if problem["type"] == "missing"
            else f"{problem['msg'].removeprefix('Value error, ')}."
        )
        for problem in error.errors(include_input=False, include_url=False)
    )
