"""The press room's page and its follow box, whatever is put into it."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailer.domain.followers.subscriptions import WORDING
from mailer.web.request_checks import LARGEST_FORM, network
from tests.conftest import Databases, on_both_databases
from tests.journeys.people import Page
from tests.support.press_room import NAME, SLUG, PressRoom, open_press_room
from tests.web.pages import FOLLOW, FORM, ROOM, plainly, text

SEED = Path(__file__).parents[3] / "shared" / "seed" / "page-nb.txt"
ONE, ONLY_ONE = (
    "Skriv inn en e-postadresse, for eksempel navn@eksempel.no.",
    "Skriv inn bare én adresse.",
)


def test_the_page_promises_what_it_does_in_the_language_of_the_press_room(room: PressRoom) -> None:
    answer = room.client.get(ROOM)
    page = text(answer)
    assert answer.status_code == 200
    assert '<html lang="nb" dir="ltr">' in page
    assert f">Følg pressemeldinger fra {NAME}</h2>" in page
    assert "Du kan melde deg av når som helst." in page
    assert 'href="https://example.org/presserom"' in page
    assert "<Norge>" not in answer.get_data(as_text=True)
    assert len(re.findall("<h1", page)) == len(re.findall("<main", page)) == 1
    assert "<script" not in page
    assert "style=" not in page


@pytest.mark.parametrize(
    ("wish", "language"), [("nn", "nn"), ("en-US", "en"), ("fr", "nb"), ("%00", "nb"), ("", "nb")]
)
def test_the_page_is_there_in_other_languages(room: PressRoom, wish: str, language: str) -> None:
    answer = room.client.get(f"{ROOM}?locale={wish}", headers={"Accept-Language": "de"})
    assert f'<html lang="{language}"' in text(answer)
    assert f'name="locale" value="{language}"' in text(answer)
    assert answer.headers["Content-Language"] == language


def test_the_promise_on_record_is_the_one_on_the_page(room: PressRoom) -> None:
    promises = {
        "follow-1": f"Sign up with your email address below to get the latest news from {NAME} "
        "by email as it is published. You can unsubscribe at any time.",
    }
    assert promises[WORDING] in text(room.client.get(f"{ROOM}?locale=en"))


def test_the_page_says_what_the_real_one_said(room: PressRoom) -> None:
    seed, page = SEED.read_text(), text(room.client.get(ROOM))
    for sentence in re.findall(r"<p>(.*?)</p>|<h1>(.*?)</h1>", page):
        assert "".join(sentence).replace(NAME, "Kasakhstans Ambassade i Norge") in seed or (
            "<a " in sentence[0]
        )


if not SEED.exists():
    # The page of a real press room is not part of the project.
    del test_the_page_says_what_the_real_one_said


@pytest.mark.parametrize(
    "path", ["/nobody/", "/nobody", "/nobody/follow", "/%00/", "/%ff/", "/æøå/", "/a%0ab/", "/x//"]
)
def test_a_press_room_that_is_not_there_is_missed_politely(room: PressRoom, path: str) -> None:
    answer = room.client.get(path, headers={"Accept-Language": "nn-NO, en;q=0.5"})
    assert answer.status_code == 404
    assert "Vi finn ikkje sida" in text(answer)


@pytest.mark.parametrize("path", [f"/{SLUG}", FOLLOW])
def test_paths_nearby_lead_to_the_page_on_the_same_host(room: PressRoom, path: str) -> None:
    answer = room.client.get(path)
    assert answer.status_code in (303, 308)
    assert answer.headers["Location"] == ROOM


@on_both_databases
def test_a_sign_up_is_kept_with_its_proof_but_not_the_whole_ip(room: PressRoom) -> None:
    answer = room.client.post(
        FOLLOW,
        data={"address": "kari@example.org", "locale": "nn"},
        environ_overrides={"REMOTE_ADDR": "203.0.113.77"},
    )
    assert answer.status_code == 202
    assert re.search("Sjekk innboksen til <[^>]+><bdi>kari@example.org</bdi>", text(answer))
    assert "presse@example.org" in text(answer)
    assert "48 timar" in text(answer)
    page = f"{room.settings.base_url}{ROOM}"
    [consent] = room.consents()
    assert (consent.step, consent.language) == ("requested", "nn")
    assert (consent.page, consent.network) == (page, "203.0.113.0/24")
    assert len(room.everything()["outbox"]) == 1


def test_a_locale_that_we_do_not_speak_becomes_that_of_the_press_room(room: PressRoom) -> None:
    assert room.send_follow_form("kari@example.org", locale="tlh").status_code == 202
    assert room.consents()[0].language == "nb"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "kari",
        "kari@example",
        "kari@[192.0.2.1]",
        "kari@example.org, ola@example.org",
        "kari@example.org ola@example.org",
        "kari@example.org\r\nBcc: ola@example.org",
        "kari\x00@example.org",
        "kari\x07@example.org",
        "kari\u202e@example.org",
        f"{'k' * 65}@example.org",
        f"{'k' * 60}@{'e' * 60}.{'e' * 60}.{'e' * 60}.{'e' * 60}.org",
        '"><script>alert(1)</script>',
        "{{ config }}",
    ],
)
def test_what_is_not_one_address_is_shown_again_with_a_sentence(
    room: PressRoom, address: str
) -> None:
    answer = room.send_follow_form(address)
    page = plainly(answer.get_data(as_text=True))
    assert answer.status_code == 422
    assert f'id="problem" role="alert">{ONLY_ONE if address.count("@") > 1 else ONE}</p>' in page
    assert 'aria-invalid="true" aria-describedby="problem"' in page
    assert "<title>Feil: " in page
    kept = re.search(r'type="email" value="([^"]*)"', text(answer) if "<" not in address else page)
    assert kept is not None
    if address.isprintable() and "<" not in address:
        assert kept[1] == address
    assert "<script" not in page
    assert room.everything()["subscribers"] == []


def test_two_fields_are_two_addresses(room: PressRoom) -> None:
    addresses = ["kari@example.org", "ola@example.org"]
    assert room.client.post(FOLLOW, data={"address": addresses}).status_code == 422


def test_an_address_beyond_the_relay_is_refused_in_its_own_words(databases: Databases) -> None:
    with databases.fresh("sqlite") as url, open_press_room(url, MAILER_SMTPUTF8="false") as room:
        answer = room.send_follow_form("bjørn@example.org", locale="en")
    assert answer.status_code == 422
    assert "Our mail system cannot reach this address." in text(answer)


def test_norwegian_letters_are_welcome(room: PressRoom) -> None:
    assert room.send_follow_form("bjørn.ærlig@blåbær.no").status_code == 202


def test_a_robot_in_the_honeypot_gets_the_same_answer_and_nothing_happens(
    room: PressRoom,
) -> None:
    expected = room.send_follow_form("kari@example.org")
    before = room.everything()
    answer = room.send_follow_form("bots@example.org", message="Buy!")
    assert answer.status_code == 202
    assert answer.data.replace(b"bots@", b"kari@") == expected.data
    assert room.everything() == before


def test_the_answer_says_what_comes_next_and_shows_what_was_typed(room: PressRoom) -> None:
    page = text(room.send_follow_form(" Kari@Example.org "))
    assert "<bdi>Kari@Example.org</bdi>" in page
    assert f"Se etter en e-post fra {NAME}, presse@example.org." in page
    assert "bekreft med ett klikk" in page


def test_one_button_sends_it_once_more_and_then_there_is_none(room: PressRoom) -> None:
    answer = room.send_follow_form("kari@example.org", locale="nn")
    action, fields = Page(202, FOLLOW, text(answer)).form()
    assert fields == {"address": "kari@example.org", "locale": "nn", "again": "1"}
    second = room.client.post(action, data=fields)
    assert second.status_code == 202
    assert "Vi har sendt e-posten ein gong til." in text(second)
    assert "<form" not in text(second)
    room.client.post(action, data=fields)
    kinds = Counter(letter[1] for letter in room.everything()["outbox"])
    assert kinds == {"confirm": 2}


def form_of(html: str, number: int) -> tuple[str, dict[str, str]]:
    """Return where a page's form goes, and its fields; the first has the number 1."""
    return Page(200, FOLLOW, "<form" + html.split("<form")[number]).form()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *(("kari@gmial.com", "kari@gmail.com"), ("kari@gmail.no", "kari@gmail.com")),
        ("o\N{RIGHT SINGLE QUOTATION MARK}brien@example.org", "o'brien@example.org"),
    ],
)
def test_a_slip_is_asked_about_before_anything_is_written(
    room: PressRoom, typed: str, meant: str
) -> None:
    before = room.everything()
    answer = room.send_follow_form(typed, locale="en")
    assert answer.status_code == 200
    assert f"Did you mean {meant}?" in text(answer)
    assert room.everything() == before
    for button, expected in ((1, meant), (2, typed)):
        action, fields = form_of(text(answer), button)
        assert room.client.post(action, data=fields).status_code == 202
        assert [row[1] for row in room.everything()["subscribers"]][-1] == expected


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *(("kari@gmail,com", "kari@gmail.com"), ("kari@example.org.", "kari@example.org")),
        *(("kari@gmial,com", "kari@gmail.com"), ("<kari@example.org>", "kari@example.org")),
        *((f"{one}kari@example.org{one}", "kari@example.org") for one in ("\u201c", "\xab", '"')),
        *((one, "kari@example.org") for one in ("mailto:kari@example.org;", "kari@ example.org")),
    ],
)
def test_a_slip_that_makes_no_address_is_asked_about_too(
    room: PressRoom, typed: str, meant: str
) -> None:
    before = room.everything()
    answer = room.send_follow_form(typed, locale="en")
    assert f"Did you mean {meant}?" in text(answer)
    assert room.everything() == before
    action, fields = form_of(text(answer), 1)
    assert room.client.post(action, data=fields).status_code == 202
    assert [row[1] for row in room.everything()["subscribers"]] == [meant]


@pytest.mark.parametrize("typed", ["kari@example.org, ola@example.org", "kari", "@example.org,"])
def test_what_is_no_slip_is_refused(room: PressRoom, typed: str) -> None:
    assert room.send_follow_form(typed).status_code == 422


def test_a_slip_is_pointed_out_whoever_is_known(room: PressRoom) -> None:
    unknown = room.send_follow_form("kari@gmial.com").data
    room.confirmed("kari@gmail.com")
    assert room.send_follow_form("kari@gmial.com").data == unknown


def test_the_language_last_asked_for_counts_until_somebody_confirms(room: PressRoom) -> None:
    def language() -> str:
        [subscription] = room.everything()["subscriptions"]
        return str(subscription[3])

    room.send_follow_form("kari@example.org", locale="en")
    room.send_follow_form("kari@example.org", locale="nn")
    assert language() == "nn"
    room.confirmed("kari@example.org", locale="nn")
    room.send_follow_form("kari@example.org", locale="en")
    assert language() == "nn"


@pytest.mark.parametrize("content_type", [FORM, "multipart/form-data"])
def test_too_large_a_form_is_refused(room: PressRoom, content_type: str) -> None:
    data = {"address": "kari@example.org", "more": "x" * LARGEST_FORM}
    answer = room.client.post(FOLLOW, data=data, content_type=content_type)
    assert answer.status_code == 413
    assert "Skjemaet tok ikke imot dette" in text(answer)
    assert room.everything()["subscribers"] == []


def test_too_large_a_form_of_unknown_length_is_refused_too(room: PressRoom) -> None:
    answer = room.client.post(
        FOLLOW,
        input_stream=io.BytesIO(b"address=" + b"x" * LARGEST_FORM),
        content_type=FORM,
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 413


BROKEN = [
    (b"", ""),
    (b"address=kari@example.org", "text/plain"),
    (b"address=kari@example.org", "application/json"),
    (b"\xff\xfe\x00address", FORM),
    (b"address=%FF%00@example.org", FORM),
    (b"address=%ED%A0%80@example.org", FORM),
    (b"address=kari%E5@example.org", f"{FORM}; charset=iso-8859-1"),
    (b"address=x&" * 2000 + b"=", FORM),
    (b"&&&===&&&", FORM),
    (b"anything", "multipart/form-data"),
    (b"anything", "multipart/form-data; boundary=\xc3\xb8"),
    (b"--b\r\n\r\n", "multipart/form-data; boundary=b"),
    (
        b'--b\r\nContent-Disposition: form-data; name="address"\r\n'
        b"Content-Type: text/plain; charset=utf-7\r\n\r\n+AGs-@x\r\n--b--",
        "multipart/form-data; boundary=b",
    ),
    (
        b'--b\r\nContent-Disposition: form-data; name="address"; filename="x"\r\n\r\nx\r\n--b--',
        "multipart/form-data; boundary=b",
    ),
]


@pytest.mark.parametrize(("body", "content_type"), BROKEN)
def test_a_broken_form_is_the_visitors_mistake(
    room: PressRoom, body: bytes, content_type: str
) -> None:
    answer = room.client.post(FOLLOW, data=body, content_type=content_type)
    assert answer.status_code in (400, 413, 422)
    assert room.everything()["subscribers"] == []


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=300)
    | st.text(max_size=100).map(lambda value: b"address=" + value.encode("utf-8", "surrogatepass"))
    | st.emails().map(lambda value: b"locale=nn&address=" + value.encode()),
    content_type=st.sampled_from([FORM, "multipart/form-data; boundary=b", "", "x/y"])
    | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
)
def test_no_form_breaks_us(room: PressRoom, body: bytes, content_type: str) -> None:
    answer = room.client.post(FOLLOW, data=body, content_type=content_type)
    assert answer.status_code < 500
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/64"),
        ("198.51.1.1:5555", "198.51.1.0/24"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:5555", "2001:db8:1:2::/64"),
        ("1::5555", "1::/64"),
        ("[", None),
        ("[203.0.113.77]:80", None),
        ("203.0.113.77:port", None),
        ("unknown", None),
        ("", None),
        (None, None),
    ],
)
def test_of_an_ip_the_network_is_kept(address: str | None, kept: str | None) -> None:
    assert network(address) == kept
