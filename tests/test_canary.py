"""The canary is heard: by what any test logs, and by what the processes of the service write."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.canary import Canary, addresses
from tests.service import NAMES, Service, contract

KARI = "kari.å@example.org"


@pytest.mark.parametrize(
    "log", [f"to {KARI}.", f'{{"to": "{KARI}"}}', f"<{KARI}>,<x>", f"a\n{KARI}\n"]
)
def test_an_address_is_seen_wherever_it_stands(log: str) -> None:
    assert addresses(log) == [KARI]


@pytest.mark.parametrize("log", ["postgresql://mailer@127.0.0.1:5432/x", "a @ b", "user@localhost"])
def test_what_is_no_address_is_passed_over(log: str) -> None:
    assert addresses(log) == []


def test_the_bird_is_heard_where_it_sings(silence: Canary) -> None:
    try:
        raise LookupError(KARI)
    except LookupError:
        logging.getLogger("mailer.somewhere").exception("It broke for %s.", KARI)
    assert silence.heard == [KARI, KARI]
    silence.heard.clear()


def test_a_service_that_sings_does_not_end_well(tmp_path: Path) -> None:
    service = Service(
        contract(database_url="sqlite://", redis_url="", smtp_url="smtp://127.0.0.1"), tmp_path
    )
    for name in NAMES:
        (tmp_path / f"{name}.log").write_text(f"{name} has sent to {KARI}\n")
    with pytest.raises(AssertionError, match="says addresses"):
        service.stop()
