"""Keys that sign letters, and two verifiers that know nothing of ours: dkimpy and OpenDKIM."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from mailer.mail.dkim import dns_record
from mailer.relay import DkimKey
from tests.servers import find_program


def rsa(domain: str, selector: str = "rsa", bits: int = 2048) -> DkimKey:
    """Make an RSA key."""
    private_key = generate_private_key(public_exponent=65537, key_size=bits)
    return DkimKey(domain=domain, selector=selector, private_key=private_key)


def ed25519(domain: str, selector: str = "ed25519") -> DkimKey:
    """Make an Ed25519 key."""
    return DkimKey(domain=domain, selector=selector, private_key=Ed25519PrivateKey.generate())


def dkimpy_verdicts(message: bytes, keys: Sequence[DkimKey]) -> list[bool]:
    """Tell for each key whether its signature is there, in this order, and holds."""
    zone = {f"{name}.".encode(): text.encode() for name, text in map(dns_record, keys)}
    return [_dkimpy_verdict(message, number, zone) for number in range(len(keys))]


def _dkimpy_verdict(message: bytes, number: int, zone: dict[bytes, bytes]) -> bool:
    try:
        verifier = dkim.DKIM(message)
        holds = verifier.verify(number, dnsfunc=lambda name, timeout=0: zone.get(name))
    except dkim.DKIMException:
        return False
    return bool(holds)


def opendkim_verdicts(message: bytes, keys: Sequence[DkimKey], folder: Path) -> list[bool]:
    """Tell for each signature, in their order, whether it holds."""
    known, configuration, mail = folder / "keys", folder / "conf", folder / "mail"
    known.write_text("".join(f"{name} {text}\n" for name, text in map(dns_record, keys)))
    configuration.write_text(
        f"TestPublicKeys {known}\nMode v\nSyslog no\nAlwaysAddARHeader yes\n"
        # It otherwise looks at three.
        f"MaximumSignaturesToVerify {len(keys)}\n"
    )
    mail.write_bytes(message)
    options = ["-x", str(configuration), "-vvv", "-t", str(mail)]
    said = subprocess.run(
        [find_program("opendkim"), *options], capture_output=True, text=True, check=True
    ).stdout
    return [verdict == "pass" for verdict in re.findall(r"\bdkim=(\w+)", said)]
