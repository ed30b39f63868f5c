"""`mailer dkim`: the keys that sign letters, and their DNS records."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailer.config import Settings
from mailer.errors import Conflict, InvalidInput, Misconfigured
from mailer.mail.dkim import dns_record

_ONLY_ITS_OWNER = 0o600


@click.group("dkim")
def dkim() -> None:
    """Make keys that sign letters, and show their DNS records."""


@dkim.command("key")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--algorithm", type=click.Choice(["rsa", "ed25519"]), default="rsa")
def key(file: Path, algorithm: Literal["rsa", "ed25519"]) -> None:
    """Write a new private key to FILE, which must not exist yet."""
    private_key = (
        Ed25519PrivateKey.generate()
        if algorithm == "ed25519"
        else generate_private_key(public_exponent=65537, key_size=2048)
    )
    text = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        file.touch(mode=_ONLY_ITS_OWNER, exist_ok=False)
        file.write_bytes(text)
    except FileExistsError:
        raise Conflict(f"{file} is already there. A key is never overwritten.") from None
    except OSError as error:
        raise InvalidInput({"FILE": f"It cannot be written ({error.strerror})."}) from None
    click.echo(
        f"{file} holds a private key. Choose a selector, add DOMAIN:SELECTOR:{file.resolve()} "
        "to MAILER_DKIM_KEYS, and publish what this prints: mailer dkim records"
    )


@dkim.command("records")
def records() -> None:
    """Print the DNS records of all keys, as lines of a zone file."""
    keys = Settings.from_environment().dkim_keys
    if not keys:
        raise Misconfigured("MAILER_DKIM_KEYS: names no key. Make one with: mailer dkim key FILE")
    for name, text in map(dns_record, keys):
        # A string in a TXT record ends at 255 octets (RFC 1035, 3.3); verifiers join them.
        click.echo(f"{name}. IN TXT " + " ".join(f'"{it}"' for it in re.findall(".{1,255}", text)))
