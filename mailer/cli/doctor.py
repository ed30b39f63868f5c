"""`mailer doctor`: checks settings and services, and says how to correct what is wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

import click
from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError

from mailer.app import create_app
from mailer.config import Settings
from mailer.domain.fingerprints import missing_keys
from mailer.domain.restores import look
from mailer.errors import Misconfigured
from mailer.mail.smtp import SmtpConnection
from mailer.mail.smtp_protocol import Rejected, SmtpError
from mailer.storage.database import db
from mailer.storage.migrations import sqlite_file
from mailer.storage.revisions import NEWEST, misfit

_TIMEOUT_SECONDS = 5


class CheckFailed(Exception):
    """A check failed; the sentence says why, and how to mend it."""


@click.command("doctor")
def doctor() -> None:
    """Check settings, keys, database, Redis and SMTP; ends with 1 if anything is wrong."""
    try:
        settings = Settings.from_environment()
    except Misconfigured as problem:
        click.echo(f"settings  WRONG\n{problem}")
        sys.exit(1)
    checks: dict[str, Callable[[Settings], str]] = {
        "settings": _settings,
        "dkim": _dkim,
        "erasure": _erasure,
        "database": _database,
        "keys": _keys,
        "restore": _restore,
        "redis": _redis,
        "smtp": _smtp,
        "web": _web,
    }
    well = True
    with create_app(settings).app_context():
        for name, check in checks.items():
            try:
                click.echo(f"{name:9} ok     {check(settings)}")
            except CheckFailed as failure:
                click.echo(f"{name:9} WRONG  {failure}")
                well = False
    sys.exit(0 if well else 1)


def _settings(settings: Settings) -> str:
    unknown = ", ".join(sorted(_unknown_variables()))
    if unknown:
        raise CheckFailed(f"Nothing here reads {unknown}. Misspelt?")
    return f"links begin with {settings.base_url}"


def _unknown_variables() -> Iterator[str]:
    known = {field.alias for field in Settings.model_fields.values()}
    return (name for name in os.environ if name.startswith("MAILER_") and name not in known)


def _dkim(settings: Settings) -> str:
    if not settings.dkim_keys:
        return "not used: letters go out unsigned, unless the relay signs them"
    names = (f"{key.selector} of {key.domain}" for key in settings.dkim_keys)
    return f"signs with {', '.join(names)}; their DNS records: mailer dkim records"


def _keys(settings: Settings) -> str:
    try:
        problems = missing_keys(settings)
    except SQLAlchemyError as error:
        return f"not compared, since the database does not answer ({_cause(error)})"
    if problems:
        raise CheckFailed(" ".join(problems))
    return "every key that signed a link is there"


def _erasure(settings: Settings) -> str:
    if settings.erasure_key is None:
        return "not used: no subscriber can be erased on request until MAILER_ERASURE_KEY is set"
    return "those who are erased stay away; keep MAILER_ERASURE_KEY as it is"


def _database(_settings: Settings) -> str:
    try:
        problem = misfit()
    except SQLAlchemyError as error:
        raise CheckFailed(
            f"It does not answer ({_cause(error)}). Start it, or correct DATABASE_URL."
        ) from error
    if problem is not None:
        raise CheckFailed(problem)
    file = sqlite_file(db.engine)
    if file is not None and file.stat().st_mode & 0o077:
        raise CheckFailed(f"Other accounts of this machine may read it. Run: chmod 600 {file}*")
    return f"answers, and fits migration {NEWEST}"


def _restore(settings: Settings) -> str:
    try:
        seen = look(settings)
    except SQLAlchemyError as error:
        return f"not compared, since the database does not answer ({_cause(error)})"
    if seen.because is not None:
        raise CheckFailed(f"{seen.because} The sweep pauses it and repeats who has left.")
    if seen.witnessed is None:
        return "nothing remembers this database yet: a backup that is put back is not recognised"
    return "a backup that is put back would be recognised"


def _redis(settings: Settings) -> str:
    if settings.redis_url is None:
        return "not used: workers look for work every second"
    try:
        with Redis.from_url(settings.redis_url, socket_timeout=_TIMEOUT_SECONDS) as redis:
            policy = redis.config_get("maxmemory-policy").get("maxmemory-policy", "unknown")
    except RedisError as error:
        raise CheckFailed(
            f"It does not answer ({type(error).__name__}). Start it, or correct REDIS_URL. "
            "Releases still go out without it: workers look for work every second."
        ) from error
    if policy not in ("noeviction", "unknown"):
        raise CheckFailed(
            f"Redis may drop queued jobs. Set maxmemory-policy noeviction (is: {policy})."
        )
    return "answers"


def _smtp(settings: Settings) -> str:
    try:
        return asyncio.run(_greet(settings))
    except Rejected as refusal:
        raise CheckFailed(
            f"The relay answers {refusal.reply.code} at {refusal.stage}. "
            "Correct the user, the password or the relay's rules (SMTP_URL)."
        ) from refusal
    except SmtpError as error:
        raise CheckFailed(
            f"The relay does not answer ({error}) Start it, or correct SMTP_URL."
        ) from error


async def _greet(settings: Settings) -> str:
    connection = await SmtpConnection.open(
        settings.relay, longest_wait=_TIMEOUT_SECONDS, name=settings.ehlo_name
    )
    await connection.quit()
    if settings.smtputf8 and not connection.smtputf8:
        raise CheckFailed(
            "The relay lacks SMTPUTF8. Set MAILER_SMTPUTF8=0, so that visitors whose address "
            "it cannot reach are told so."
        )
    return f"{settings.relay.host}:{settings.relay.port} greets us"


def _web(settings: Settings) -> str:
    """Ask for pages by the names that links have, through whatever proxy stands in front."""
    for host in settings.former_hosts:
        if _status(f"https://{host}/healthz") != HTTPStatus.OK:
            raise CheckFailed(
                f"https://{host} does not lead here, so that links in old letters are broken. Let "
                "its name and its certificate lead to the web process (MAILER_FORMER_HOSTS)."
            )
    status = _status(f"{settings.base_url}/robots.txt")
    if status is None:
        return f"{settings.base_url} does not answer from here: the web process may not run yet"
    if status == HTTPStatus.BAD_REQUEST:
        raise CheckFailed(
            f"{settings.base_url} is refused with 400. If a proxy stands in front, let it pass on "
            "the Host of the visitor."
        )
    if status != HTTPStatus.OK:
        raise CheckFailed(f"{settings.base_url} answers {status}. Does it lead to the web process?")
    return f"{settings.base_url} answers"


def _status(url: str) -> int | None:
    """Return the status of an answer, None if there is none."""
    try:
        with urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - from the settings
            return int(answer.status)
    except HTTPError as refusal:
        with refusal:
            return refusal.code
    except (OSError, HTTPException, ValueError):
        return None


def _cause(error: SQLAlchemyError) -> str:
    return type(getattr(error, "orig", None) or error).__name__
