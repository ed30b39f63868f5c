"""`mailer release`: publishes, controls and accounts for releases without HTTP."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from mailer.app import with_settings
from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.publishers import press_room_of
from mailer.domain.releases import lifecycle, previews, publishing, receipts
from mailer.domain.releases.receipts import Receipt
from mailer.domain.releases.release_body import ReleaseBody, Retraction
from mailer.errors import InvalidInput
from mailer.mail.content import PressRoom

_POLL_SECONDS = 0.5
_AT_REST = ("done", "stopped", "paused", "scheduled", "held")


@click.group("release")
def release() -> None:
    """Publish releases, and see what became of them."""


@release.command("publish")
@click.argument("slug")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--watch", is_flag=True, help="Show how far it has come, until it is done.")
@with_settings
def publish(settings: Settings, slug: str, file: Path, *, watch: bool) -> None:
    """Publish a release from a JSON file; the same file again is the same release."""
    published = publishing.publish(settings, publishers.find(slug), _body(file))
    click.echo(f"Release {published.id} is {published.initial_state}.")
    if watch:
        _watch(published.id)


@release.command("correct")
@click.argument("release_id", type=int)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def correct(settings: Settings, release_id: int, file: Path) -> None:
    """Put a better version in the place of a release, from a JSON file with its reference.

    Everyone who received the release gets a correction; "note" in the file says what differs.
    """
    publisher = lifecycle.publisher_of(release_id)
    better = publishing.correct(settings, publisher, release_id, _body(file))
    click.echo(f"Release {better.id} corrects release {release_id}, and is {better.initial_state}.")


@release.command("retract")
@click.argument("release_id", type=int)
@click.option("--note", help="Why, in a sentence for everyone who has it.")
@with_settings
def retract(settings: Settings, release_id: int, note: str | None) -> None:
    """Take a release back: nothing more of it is sent, and all who have it are told."""
    publisher = lifecycle.publisher_of(release_id)
    last = publishing.retract(settings, publisher, release_id, Retraction.read({"note": note}))
    click.echo(f"Release {last.id} takes back release {release_id}, and is {last.initial_state}.")


@release.command("preview")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--publisher", "slug", help="Whose release it is; without one, an example's.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write it; without one, a new folder named after the reference.",
)
def preview(file: Path, slug: str | None, folder: Path | None) -> None:
    """Write a release as its readers would get it, and say what they would stumble over.

    For each language an HTML page, the plain text, and the whole message for a mail program.
    Nothing is stored, sent or fetched; without --publisher, not even a database is needed.
    """
    body = _body(file)
    room, base_url = _room(slug) if slug else (previews.EXAMPLE_ROOM, previews.EXAMPLE_URL)
    shown = previews.preview(room, base_url, body)
    folder = folder or Path(body.reference)
    for locale, letter in shown.letters.items():
        _write(folder, locale, letter)
        click.echo(
            f"{folder / locale}.html, .txt and .eml: {letter.html_octets:,} octets of HTML, "
            f"{len(letter.message):,} of the whole message."
        )
    for warning in shown.warnings:
        click.echo(f"{warning.field}: {warning.message}", err=True)


@release.command("receipt")
@click.argument("release_id", type=int)
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@with_settings
def receipt(_settings: Settings, release_id: int, *, as_json: bool) -> None:
    """Show the balanced account of a release."""
    account = receipts.receipt(lifecycle.publisher_of(release_id), release_id)
    click.echo(json.dumps(account.as_json()) if as_json else _line(account))


@release.command("stop")
@click.argument("release_id", type=int)
@with_settings
def stop(_settings: Settings, /, release_id: int) -> None:
    """Cancel a release that has not started, or end one that is going out."""
    stopped = lifecycle.stop(lifecycle.publisher_of(release_id), release_id)
    click.echo(f"Release {release_id} is {stopped.state}.")


@release.command("resume")
@click.argument("release_id", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="Go on with every paused release.")
@with_settings
def resume(settings: Settings, release_id: int | None, *, everything: bool) -> None:
    """Send a held release now, or go on with a paused one."""
    if everything == (release_id is not None):
        raise click.UsageError("Name one release, or say --all.")
    if release_id is not None:
        resumed = lifecycle.resume(settings, lifecycle.publisher_of(release_id), release_id)
        click.echo(f"Release {release_id} is {resumed.state}.")
        return
    ids = lifecycle.resume_all(settings)
    for one in ids:
        click.echo(f"Release {one} goes on.")
    if not ids:
        click.echo("No release is paused.")


@release.command("list")
@click.option("--paused", is_flag=True, required=True, help="Those that wait to be resumed.")
@with_settings
def show(_settings: Settings, /, *, paused: bool) -> None:
    """Show the paused releases of every press room, and why; exits 1 if there is one."""
    found = lifecycle.paused_releases() if paused else ()
    for publisher, one in found:
        click.echo(f"Release {one.id} of {publisher.slug}: {one.paused_because}")
    if found:
        raise SystemExit(1)


@release.command("retry")
@click.argument("release_id", type=int)
@click.option("--refused", metavar="CODE", help="Whom the relay refused so, such as 5.7.1.")
@click.option("--unanswered", is_flag=True, help="Who may have it, and was given up: once more.")
@with_settings
def retry(settings: Settings, release_id: int, refused: str | None, *, unanswered: bool) -> None:
    """Send a release again to those who were refused, once the reason is mended."""
    if unanswered == (refused is not None):
        raise click.UsageError("Say --refused CODE, or --unanswered.")
    kind, reason = ("refused", refused) if refused is not None else ("skipped", "unanswered")
    publisher = lifecycle.publisher_of(release_id)
    number = lifecycle.retry(settings, publisher, release_id, kind, reason)
    click.echo(f"Release {release_id} goes to {number} recipients again.")


def _body(file: Path) -> ReleaseBody:
    try:
        return ReleaseBody.read(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, RecursionError):
        raise InvalidInput({"": f"{file} is not valid JSON in UTF-8."}) from None


@with_settings
def _room(settings: Settings, slug: str) -> tuple[PressRoom, str]:
    return press_room_of(publishers.find(slug), settings.base_url), settings.base_url


def _write(folder: Path, locale: str, letter: previews.Letter) -> None:
    files = {"html": letter.html.encode(), "txt": letter.text.encode(), "eml": letter.message}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, content in files.items():
            (folder / f"{locale}.{kind}").write_bytes(content)
    except OSError as problem:
        raise InvalidInput({"--folder": f"{folder}: {problem.strerror}."}) from None


def _watch(release_id: int) -> None:
    publisher = lifecycle.publisher_of(release_id)
    while True:
        account = receipts.receipt(publisher, release_id)
        click.echo(_line(account))
        if account.state in _AT_REST:
            return
        # The receipt comes from database rows, which send no notice when they change.
        time.sleep(_POLL_SECONDS)


def _line(account: Receipt) -> str:
    return (
        f"{account.state}: {account.total} = {account.accepted} accepted + "
        f"{account.refused} refused + {account.skipped} skipped + {account.deferred} deferred + "
        f"{account.waiting} waiting; {account.uncertain} uncertain"
        + (f"\n{account.because}" if account.because else "")
    )
