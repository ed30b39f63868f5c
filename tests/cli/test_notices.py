"""What an operator says about who is told when a release pauses itself."""

from __future__ import annotations

import pytest

from tests.cli.operator import Operator
from tests.support.press_room import SLUG


@pytest.mark.parametrize("notices", ["Vakt@Example.org", "none", ""])
def test_notices_go_to_an_address_to_nobody_or_back_to_the_sender(
    operator: Operator, notices: str
) -> None:
    operator.opens_a_room()
    assert SLUG in operator.does("publisher", "set", SLUG, "--notices", notices).out


@pytest.mark.parametrize("notices", ["nobody", "a@b", "a@b.no\nBcc: c@d.no", "vakt@@example.org"])
def test_what_is_no_address_is_refused_with_a_sentence(operator: Operator, notices: str) -> None:
    operator.opens_a_room()
    assert "address" in operator.run("publisher", "set", SLUG, "--notices", notices).sentence
