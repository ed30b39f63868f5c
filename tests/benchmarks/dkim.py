"""DKIM: what a signature costs with us, beside what OpenSSL itself needs for one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.bench_service import MANY, SENDER, bench_service, mailer, sample
from tests.benchmarks.parts import Figures, Part, Sizes, middle, spread, table
from tests.benchmarks.processor import run
from tests.servers import sink, temporary_folder

_ROOM = "dkim"
_NAMES = {"rsa": "RSA-2048", "ed25519": "Ed25519"}
# Where `openssl speed -mr` says how many signatures it made in a second.
_SPEED = {"rsa": ("rsa2048", "+F2", 3), "ed25519": ("ed25519", "+F6", 4)}


def measure(sizes: Sizes) -> Figures:
    """Send the same release without DKIM and with each kind of key, in turns."""
    number = sizes.recipients
    with temporary_folder() as folder, sink() as box, ExitStack() as open_now:
        variables = {"without": {}, **{kind: _key(folder, kind) for kind in _NAMES}}
        for kind in _NAMES:
            assert b"DKIM-Signature:" in sample(**variables[kind]), f"{kind} does not sign"
        stands = {
            kind: open_now.enter_context(bench_service("sqlite", box.url, **MANY, **given))
            for kind, given in variables.items()
        }
        for one in stands.values():
            one.open(_ROOM, number)
        turns = [
            {kind: one.send(_ROOM) for kind, one in stands.items()} for _ in range(sizes.pairs)
        ]
    return {
        "recipients": number,
        "runs": {kind: [turn[kind] for turn in turns] for kind in stands},
        "openssl": {kind: _openssl_seconds(kind) for kind in _NAMES},
    }


def _key(folder: Path, kind: str) -> dict[str, str]:
    """Make a key, and give the setting that lets the service sign with it."""
    file = folder / f"{kind}.pem"
    mailer("dkim", "key", str(file), "--algorithm", kind)
    return {"MAILER_DKIM_KEYS": f"{SENDER.partition('@')[2]}:{kind}:{file}"}


def _openssl_seconds(kind: str) -> float:
    """Ask OpenSSL how long one signature takes on one processor."""
    algorithm, mark, place = _SPEED[kind]
    said = run(["openssl", "speed", "-mr", "-seconds", "2", algorithm]).said
    line = next(line for line in said.splitlines() if line.startswith(mark))
    return 1 / float(line.split(":")[place])


def describe(figures: Figures) -> str:
    """Write down what signing adds."""
    runs, without = figures["runs"], figures["runs"]["without"]
    rows = []
    for kind, name in _NAMES.items():
        added = [
            signed["releases"] - plain["releases"]
            for signed, plain in zip(runs[kind], without, strict=True)
        ]
        signature = figures["openssl"][kind]
        rows.append(
            [
                name,
                f"{middle(runs[kind], 'rate'):,.0f}",
                spread([one * 1e6 for one in added], 0),
                f"{signature * 1e6:.0f}",
                spread([one / signature for one in added]),
            ]
        )
    return "\n\n".join(
        [
            f"{figures['recipients']:,} recipients on SQLite, in turns without a key (at "
            f"{middle(without, 'rate'):,.0f} a second, {middle(without, 'releases') * 1e6:.0f} µs "
            "a mail) and with one. “Added” is the processor time a mail that the worker needs "
            "beyond the turn without a key; “a signature” is the time that `openssl speed` needs "
            "for one.",
            table(["", "mails a second", "added, µs a mail", "a signature, µs", "ratio"], rows),
        ]
    )


PART = Part("dkim", "What a DKIM signature costs", measure, describe)
