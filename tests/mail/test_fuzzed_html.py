"""Made HTML, nested, misnested and huge: whatever is accepted is composed, within bounds.

`make fuzz` tries an hour of seeds, and prints the first and the last of them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.service import ROOT
from tests.support.measured_compose import COMPOSED, REFUSED, TOO_LONG

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
USUAL = 150
FOUND = (11969, 28274, 99221, 118071)
"""Seeds that have found something: text made longer piece by piece took a square of time; what was
too large was composed in every locale, or held a table in each table; items of two kinds of list
were in one another; tags in attributes hid the depth, and the parser had to be stopped."""
MOST_SECONDS, MOST_OCTETS = 3.0, 300 * 1024 * 1024
LONGEST = 1_048_576

NAMES = (
    *("p", "b", "i", "em", "strong", "a", "span", "font", "u", "s", "sub", "sup", "small", "code"),
    *("ul", "ol", "li", "blockquote", "div", "section", "h1", "h2", "h3", "h4", "pre", "center"),
    *("table", "thead", "tbody", "tr", "td", "th", "caption", "dl", "dt", "dd", "figure", "br"),
    *("figcaption", "hr", "img", "iframe", "video", "object", "o:p", "x-own", "ruby", "rt", "nobr"),
    *("option", "optgroup", "details", "summary", "label", "main", "article", "col", "colgroup"),
)
ATTRIBUTES = (
    *("lang=x%d", 'href="https://a.example/%d"', "href='mailto:a@example.org'", 'class="Mso %d"'),
    *('style="mso-bidi: %d; color: red"', 'src="https://a.example/%d.png"', 'alt="<b>&quot;%d"'),
    *('width="9%d"', "colspan=%d", "start=%d", 'title="%d', "data-x=`%d`", "id", "=", '"', "'"),
)
TEXTS = (
    *("x", "Blåbær ", "&amp;", "&", "<", ">", "\n", "\t", "\N{NO-BREAK SPACE}", "&#x41;", "&nbsp;"),
    *(
        "字",
        "🫐",
        "a\u0301",
        "\u200d",
        "&lt;b&gt;",
        "…" * 9,
        "w" * 60,
        "https://a.example/?a=1&b=2 ",
    ),
    *(
        "<!-- x -->",
        "<![CDATA[x]]>",
        "<!--[if gte mso 9]><xml></xml><![endif]-->",
        "</",
        "<!",
        "<?x?>",
    ),
    *("{{ x }}", "=3D", ".\n", "From x", "&notanentity;", "-->", "]]>", "\r"),
)
TIMES = (1, 1, 2, 5, 30, 99, 120, 390, 1_000, 5_000, 20_000, 39_999)


def piece(choose: random.Random) -> str:
    """Make a tag or a text."""
    chance = choose.random()
    if chance < 0.35:
        return choose.choice(TEXTS)
    name = choose.choice(NAMES)
    if chance < 0.6:
        return f"</{name}>"
    attributes = choose.sample(ATTRIBUTES, choose.choice((0, 0, 0, 1, 2, 4)))
    name = choose.choice((name, name, name.upper()))
    return f"<{' '.join((name, *attributes))}{choose.choice(('>', '>', '>', '/>', ''))}"


def document(seed: int) -> str:
    """Make HTML: some fragments one after another or in one another, each any number of times."""
    choose = random.Random(seed)
    made = ""
    for _ in range(choose.randint(1, 4)):
        pieces = [piece(choose) for _ in range(choose.randint(1, 6))]
        times = choose.choice(TIMES)
        fragment = "".join(
            "".join(one.replace("%d", str(number)) for one in pieces) for number in range(times)
        )
        made = choose.choice((made + fragment, fragment + made, fragment + made + fragment))
    return made[:LONGEST]


@pytest.fixture(scope="module")
def program() -> Iterator[subprocess.Popen[str]]:
    """What composes and measures."""
    command = [sys.executable, "-m", "tests.support.measured_compose"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()


def measured(program: subprocess.Popen[str], html: str) -> dict[str, float]:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(json.dumps(html) + "\n")
    program.stdin.flush()
    answer: dict[str, float] = json.loads(program.stdout.readline())
    return answer


def seeds() -> Iterator[int]:
    """Give what has found something, then count from the first seed on, as long as is wanted."""
    yield from FOUND
    until = time.monotonic() + SECONDS
    seed = FIRST
    while seed < FIRST + USUAL or time.monotonic() < until:
        yield seed
        seed += 1


def test_whatever_is_accepted_is_composed_within_bounds(program: subprocess.Popen[str]) -> None:
    empty = measured(program, "<p>x</p>")["octets"]
    became: Counter[int] = Counter()
    stopped: list[int] = []
    seconds = octets = 0.0
    for seed in seeds():
        found = measured(program, document(seed))
        status = int(found["status"])
        became[status] += 1
        seconds = max(seconds, found["seconds"])
        octets = max(octets, found["octets"] - empty)
        stopped += [seed] if status == TOO_LONG else []
        assert (seed, status) in ((seed, COMPOSED), (seed, REFUSED), (seed, TOO_LONG))
        assert (seed, found["seconds"]) < (seed, MOST_SECONDS)
        assert (seed, found["octets"] - empty) < (seed, MOST_OCTETS)
    print(f"seeds {FIRST} to {seed}: {became}, at most {seconds:.2f} s, {octets / 2**20:.0f} MiB")
    # These took as long as they were let: the seconds above are then those of the clock.
    print(f"stopped by the clock: {stopped}")
    assert became[COMPOSED] > USUAL / 4
    assert became[REFUSED]
