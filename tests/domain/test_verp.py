"""Mailboxes say what arrives at them is about, and nobody else can make one."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.config import Settings
from mailer.domain.tokens import Tokens
from mailer.domain.verp import Purpose, ReturnPath, ReturnPaths
from mailer.errors import Misconfigured, UnknownMailbox
from tests.service import contract

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
KEYS = [f"key number {number} of the press room's own" for number in range(4)]
"""The newest first, as SECRET_KEYS wants them."""
DOMAIN = "in.example.org"
KARIS, BLUEBERRIES = 4711, 17
LARGEST_ID = 2**40 - 1


def settings(*keys: str, domain: str = DOMAIN) -> Settings:
    variables = contract(database_url="sqlite:///x", redis_url="", smtp_url="smtp://127.0.0.1")
    own = {"SECRET_KEYS": ",".join(keys or KEYS), "MAILER_MAIL_DOMAIN": domain}
    return Settings.from_environment(variables | own)


def return_paths(*keys: str, domain: str = DOMAIN) -> ReturnPaths:
    return ReturnPaths(settings(*keys, domain=domain))


@given(st.sampled_from(PURPOSES), st.integers(1, LARGEST_ID), st.integers(0, LARGEST_ID))
def test_a_mailbox_says_what_it_is_about(purpose: Purpose, one: int, release_id: int) -> None:
    address = return_paths().address(purpose, one, release_id)
    assert return_paths().read([address]) == ReturnPath(purpose, one, release_id or None)
    local, _, domain = address.partition("@")
    assert len(local) <= 64
    assert local.isascii()
    assert domain == DOMAIN


@given(st.sampled_from(PURPOSES), st.data())
def test_a_mailbox_is_the_same_in_any_case(purpose: Purpose, data: st.DataObject) -> None:
    address = return_paths().address(purpose, KARIS, BLUEBERRIES)
    upper = data.draw(st.lists(st.booleans(), min_size=len(address), max_size=len(address)))
    mixed = "".join(one.upper() if big else one for one, big in zip(address, upper, strict=True))
    assert return_paths().read([mixed]).subscription_id == KARIS


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_mailbox_with_any_letter_changed_is_nobodys(purpose: Purpose) -> None:
    address = return_paths().address(purpose, KARIS, BLUEBERRIES)
    for place in range(address.index("@")):
        other = "a" if address[place] != "a" else "b"
        with pytest.raises(UnknownMailbox):
            return_paths().read([f"{address[:place]}{other}{address[place + 1 :]}"])


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_mailbox_cut_or_lengthened_is_nobodys(purpose: Purpose) -> None:
    address = return_paths().address(purpose, KARIS)
    local, _, domain = address.partition("@")
    for changed in [*(local[:length] for length in range(len(local))), f"{local}a", f"a{local}"]:
        with pytest.raises(UnknownMailbox):
            return_paths().read([f"{changed}@{domain}"])


@pytest.mark.parametrize(
    ("made_for", "tried_for"),
    [(one, other) for one in PURPOSES for other in PURPOSES if one != other],
)
def test_a_mailbox_is_good_for_one_purpose_only(made_for: Purpose, tried_for: Purpose) -> None:
    address = return_paths().address(made_for, KARIS)
    with pytest.raises(UnknownMailbox):
        return_paths().read([address.replace(f"{made_for}-", f"{tried_for}-")])


def test_what_a_link_holds_is_no_mailbox() -> None:
    links = Tokens(settings())
    for purpose in ("unsubscribe", "one-click"):
        token = links.token("unsubscribe" if purpose == "unsubscribe" else "one-click", KARIS)
        with pytest.raises(UnknownMailbox):
            return_paths().read([f"unsubscribe-{token}@{DOMAIN}"])


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_key_ever_used_still_verifies(purpose: Purpose, key: str) -> None:
    address = return_paths(key).address(purpose, KARIS)
    assert return_paths().read([address]).subscription_id == KARIS


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_newest_key_signs_and_no_other_verifies(purpose: Purpose) -> None:
    address = return_paths().address(purpose, KARIS)
    assert return_paths(KEYS[0]).read([address]).subscription_id == KARIS
    with pytest.raises(UnknownMailbox):
        return_paths(*KEYS[1:]).read([address])


def test_letters_from_before_the_domain_changed_are_still_known() -> None:
    address = return_paths(domain="post.example.net").address("unsubscribe", KARIS)
    assert return_paths().read([address]).subscription_id == KARIS


def test_the_first_address_of_ours_counts() -> None:
    own = return_paths().address("unsubscribe", KARIS)
    other = return_paths().address("unsubscribe", KARIS + 1)
    assert return_paths().read(["kari@example.org", own, other]).subscription_id == KARIS


@given(st.lists(st.text()))
def test_no_text_is_a_mailbox_by_chance(texts: list[str]) -> None:
    with pytest.raises(UnknownMailbox):
        return_paths().read(texts)


def test_a_domain_beyond_ascii_becomes_what_mail_servers_know() -> None:
    address = return_paths(domain="Post.Øya.Example").address("unsubscribe", KARIS)
    assert address.endswith("@post.xn--ya-kka.example")


def test_where_no_mail_arrives_there_are_none() -> None:
    with pytest.raises(Misconfigured, match="MAILER_MAIL_DOMAIN"):
        return_paths(domain="")
