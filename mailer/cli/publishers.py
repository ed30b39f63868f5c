"""`mailer publisher`: press rooms and their API keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import click

from mailer.app import with_settings
from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.branding import Branding
from mailer.mail.locales import available


def _text(_context: click.Context, _option: click.Parameter, file: str | None) -> str | None:
    """Read the text in a file; without a file name, return the option as it is."""
    try:
        return Path(file).read_text(encoding="utf-8") if file else file
    except (OSError, UnicodeDecodeError) as problem:
        raise click.BadParameter(f"{file} cannot be read: {problem}.") from None


def _json(context: click.Context, option: click.Parameter, file: str | None) -> Any:
    """Read the JSON in a file; without a file name, return the option as it is."""
    text = _text(context, option, file)
    try:
        return json.loads(text) if text else text
    except ValueError:
        raise click.BadParameter(f"{file} is not JSON.") from None


@click.group("publisher")
def publisher() -> None:
    """Open press rooms, and give out their API keys."""


@publisher.command("add")
@click.argument("slug")
@click.option("--name", required=True, help="What readers call the press room.")
@click.option("--from", "from_address", required=True, help="The sender of its letters.")
@click.option("--locale", type=click.Choice(available()), default="nb", show_default=True)
@click.option("--website", "website_url", help="The press room's own web site.")
@click.option("--logo", "logo_url", help="The address of its logo, https.")
@click.option("--accent", help="Its colour, such as #0b5394; dark enough to be read on white.")
@click.option("--about", help="Who they are, in plain text, for the press room's page.")
@click.option("--contacts", callback=_json, help="Whom the press may ask: a JSON file.")
@click.option("--privacy", callback=_text, help="What they add to the page on privacy: a file.")
@click.option("--hold-minutes", type=click.IntRange(0, 1440), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@with_settings
def add(_settings: Settings, /, slug: str, *, as_json: bool, **fields: Any) -> None:
    """Open a press room, and show its first API key, this once."""
    draft = publishers.PublisherDraft(slug, **fields)
    _show_key(slug, publishers.add(draft), as_json=as_json)


@publisher.command("set")
@click.argument("slug")
@click.option("--name", help="What readers call the press room.")
@click.option("--website", "website_url", help="Its own web site; '' takes it away.")
@click.option("--logo", "logo_url", help="The address of its logo, https; '' takes it away.")
@click.option("--accent", help="Its colour, such as #0b5394; '' takes it away.")
@click.option("--about", help="Who they are, in plain text; '' takes it away.")
@click.option("--contacts", callback=_json, help="A JSON file; '' takes them away.")
@click.option("--privacy", callback=_text, help="A text file; '' takes it away.")
@click.option(
    "--notices",
    help="Who is told when a release pauses itself: an address, or none; '' for the sender.",
)
@with_settings
def change(_settings: Settings, /, slug: str, *, notices: str | None, **branding: Any) -> None:
    """Change what readers see of a press room, and who is told when a release pauses itself."""
    changes = {field: value or None for field, value in branding.items() if value is not None}
    if not changes and notices is None:
        raise click.UsageError("Say what to change: see mailer publisher set --help.")
    publishers.change(slug, cast(Branding, changes), notices)
    click.echo(f"The press room {slug} is changed, and so is every letter composed from now on.")


@publisher.command("key")
@click.argument("slug")
@click.option("--scope", type=click.Choice(["publish", "read"]), default="publish")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@with_settings
def key(_settings: Settings, slug: str, scope: publishers.Scope, *, as_json: bool) -> None:
    """Show another API key, so that keys can be changed without a gap."""
    _show_key(slug, publishers.add_key(slug, scope), as_json=as_json)


def _show_key(slug: str, api_key: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"slug": slug, "api_key": api_key}))
    else:
        click.echo(f"The API key of {slug}; it is not shown again:\n{api_key}")
