"""What is told of a file: its kind and its size, as the reader writes them."""

from __future__ import annotations

import pytest

from mailer.mail.content import Document
from mailer.mail.formats import file_description

TALL = "https://museet.example/tall.pdf"


@pytest.mark.parametrize(
    ("locale", "size", "told"),
    [
        ("nb", 1_234_567, "PDF, 1,2 MB"),
        ("nn", 1_234_567, "PDF, 1,2 MB"),
        ("en", 1_234_567, "PDF, 1.2 MB"),
        ("nb", 84_000_000, "PDF, 84 MB"),
        ("nb", 2_500_000_000, "PDF, 2,5 GB"),
        ("en", 340_400, "PDF, 340 kB"),
        ("nn", 1, "PDF, 1 kB"),
        ("nb", None, "PDF"),
    ],
)
def test_a_file_is_described_in_the_language_of_the_reader(
    locale: str, size: int | None, told: str
) -> None:
    description = file_description(Document("Tall", TALL, size), locale)
    assert description.replace("\N{NO-BREAK SPACE}", " ") == told


@pytest.mark.parametrize("title", ["Tall (PDF)", "PDF med tall", "tall.pdf"])
def test_what_the_title_says_is_not_said_again(title: str) -> None:
    assert file_description(Document(title, TALL), "nb") == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://museet.example/",
        "https://museet.example/tall.",
        "https://museet.example/tall.aspx?a=b.pdf",
        "https://museet.pdf",
    ],
)
def test_an_address_that_tells_no_kind_is_no_kind(url: str) -> None:
    assert file_description(Document("Tall", url), "nb") == ""
