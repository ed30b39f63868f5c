"""`mailer dkim` makes keys and tells DNS about them; a key that cannot sign is named."""

from __future__ import annotations

import base64
import shutil
import stat
import subprocess
from pathlib import Path

import dns.zone
import pytest
from dns.rdtypes.ANY.TXT import TXT

from tests.cli.operator import Operator
from tests.support.press_room import SLUG

NAME = "MAILER_DKIM_KEYS"


@pytest.fixture
def keeper(tmp_path: Path) -> Operator:
    """An operator without any setting, and a folder for keys."""
    return Operator({}, tmp_path)


def openssl(*arguments: str) -> bytes:
    """Run OpenSSL, which makes and reads keys without us."""
    program = shutil.which("openssl")
    assert program
    return subprocess.run([program, *arguments], check=True, capture_output=True).stdout


def refusal(clerk: Operator, setting: str) -> str:
    """Give the sentence by which the setting is refused, which tells nothing of a key."""
    sentence = clerk.run("publisher", "key", SLUG, **{NAME: setting}).sentence
    assert sentence.startswith(f"{NAME}: ")
    assert "PRIVATE KEY" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ((), "(2048 bit, 2 primes)"),
        (("--algorithm", "rsa"), "(2048 bit, 2 primes)"),
        (("--algorithm", "ed25519"), "ED25519"),
    ],
)
def test_a_new_key_is_read_by_its_owner_alone(
    keeper: Operator, options: tuple[str, ...], kind: str
) -> None:
    file = keeper.folder / "new.pem"
    said = keeper.does("dkim", "key", str(file), *options)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in said.out
    assert "PRIVATE KEY" not in said.out
    assert kind in openssl("pkey", "-in", str(file), "-noout", "-text").decode()


def test_no_file_is_overwritten(keeper: Operator) -> None:
    file = keeper.file("old.pem", b"the only copy")
    assert "old.pem" in keeper.run("dkim", "key", file).sentence
    assert Path(file).read_bytes() == b"the only copy"


def test_a_folder_that_is_not_there_is_one_sentence(keeper: Operator) -> None:
    assert "written" in keeper.run("dkim", "key", str(keeper.folder / "no" / "key.pem")).sentence


def test_the_records_can_be_pasted_into_a_zone_file(clerk: Operator, tmp_path: Path) -> None:
    rsa, ed25519 = tmp_path / "rsa.pem", tmp_path / "ed25519.pem"
    clerk.does("dkim", "key", str(rsa))
    clerk.does("dkim", "key", str(ed25519), "--algorithm", "ed25519")
    setting = f"example.org:one:{rsa}, Example.org:two.next:{ed25519}"
    said = clerk.run("dkim", "records", **{NAME: setting})
    assert said.status == 0, said
    zone = dns.zone.from_text(f"$TTL 300\n{said.out}", origin="example.org.", check_origin=False)
    found = {
        name.to_text(): b"".join(record.strings).decode()
        for name, _, record in zone.iterate_rdatas("TXT")
        if isinstance(record, TXT)
    }
    whole = openssl("rsa", "-in", str(rsa), "-pubout", "-outform", "DER")
    short = openssl("pkey", "-in", str(ed25519), "-pubout", "-outform", "DER")[-32:]
    assert found == {
        "one._domainkey": f"v=DKIM1; k=rsa; p={base64.b64encode(whole).decode()}",
        "two.next._domainkey": f"v=DKIM1; k=ed25519; p={base64.b64encode(short).decode()}",
    }


def test_without_keys_there_is_nothing_to_publish(clerk: Operator) -> None:
    assert "mailer dkim key" in clerk.run("dkim", "records").sentence


@pytest.mark.parametrize(
    "setting",
    [
        *("hemmelig", "example.org:hemmelig", "example:one:/key.pem", "example.org::/key.pem"),
        *("example.org:o ne:/key.pem", "example.org:one:", ":one:/key.pem", ","),
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_a_setting_that_names_no_key_is_explained(clerk: Operator, setting: str) -> None:
    sentence = refusal(clerk, setting)
    assert "example.org:selector:" in sentence
    assert "hemmelig" not in sentence


def test_a_key_that_cannot_be_read_is_named_by_its_selector(clerk: Operator) -> None:
    assert "autumn" in refusal(clerk, "example.org:autumn:/nowhere.pem")


@pytest.mark.parametrize(
    "options",
    [
        ("RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
        ("RSA", "-pkeyopt", "rsa_keygen_bits:2040"),
        ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        ("X25519",),
        ("ED25519", "-aes256", "-pass", "pass:hemmelig"),
    ],
    ids=lambda options: "-".join(options).replace(":", "-"),
)
def test_a_key_that_verifiers_do_not_take_is_named_by_its_selector(
    clerk: Operator, tmp_path: Path, options: tuple[str, ...]
) -> None:
    file = tmp_path / "key.pem"
    openssl("genpkey", "-out", str(file), "-algorithm", *options)
    assert "autumn" in refusal(clerk, f"example.org:autumn:{file}")


@pytest.mark.parametrize("content", [b"", b"\xff", b"-----BEGIN PRIVATE KEY-----\nhemmelig\n"])
def test_a_file_that_is_no_key_is_named_by_its_selector(clerk: Operator, content: bytes) -> None:
    sentence = refusal(clerk, f"example.org:autumn:{clerk.file('key.pem', content)}")
    assert "autumn" in sentence
    assert "hemmelig" not in sentence


def test_a_selector_has_one_key(clerk: Operator, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    clerk.does("dkim", "key", str(file), "--algorithm", "ed25519")
    assert "twice" in refusal(clerk, f"example.org:one:{file},example.org:ONE:{file}")
