"""`mailer publisher`: press rooms and their API keys."""

from __future__ import annotations

import json

import click

from mailer.cli.context import with_settings
from mailer.config import Settings
from mailer.domain import publishers
from mailer.mail.locales import available


@click.group("publisher")
def publisher() -> None:
    """Open press rooms, and give out their API keys."""


@publisher.command("add")
@click.argument("slug")
@click.option("--name", required=True, help="What readers call the press room.")
@click.option("--from", "from_address", required=True, help="The sender of its letters.")
@click.option("--locale", type=click.Choice(available()), default="nb", show_default=True)
@click.option("--website", help="The press room's own web site.")
@click.option("--hold-minutes", type=click.IntRange(0, 1440), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@with_settings
def add(
    _settings: Settings,
    slug: str,
    name: str,
    from_address: str,
    locale: str,
    website: str | None,
    hold_minutes: int,
    *,
    as_json: bool,
) -> None:
    """Open a press room, and show its first API key, this once."""
    draft = publishers.PublisherDraft(slug, name, from_address, locale, website, hold_minutes)
    _show_key(slug, publishers.add(draft), as_json=as_json)


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
