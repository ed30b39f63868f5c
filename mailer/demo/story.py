"""The story: what a press room and its followers do, seen from outside, over HTTP and SMTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import chain

from mailer.demo import samples
from mailer.demo.console_output import Step, StepFailed
from mailer.demo.followers import Follower
from mailer.demo.http_client import request
from mailer.demo.publisher import Publisher
from mailer.demo.services import Services


def steps(services: Services, publisher: Publisher, release: samples.Release) -> Iterator[Step]:
    """Yield the steps from the start of the services to followers who have left."""
    follower = partial(Follower, services)
    kari = follower("Kari", "kari.nordmann@example.org", "nb", "Norwegian bokmål")
    aase = follower("Åse", "åse.bjørnstad@example.org", "nn", "Norwegian nynorsk")
    emma = follower("Emma", "emma@example.org", "en", "English")
    ola = follower("Ola", "ola@example.org", "nb", "Norwegian bokmål")
    button = "follows the link in the letter, presses the button"
    goodbye = "and is let go with a goodbye."

    yield "Everything starts on this machine", None
    yield "Database, Valkey and workers are up.", services.start_processes
    yield "The inbox takes every mail; none leaves this machine.", services.start_inbox
    yield "The web process answers.", services.await_web
    yield "A press room opens, and people follow it", None
    yield f"{samples.NAME} has a press room.", publisher.open_press_room
    for one in (kari, aase):
        sign_up = partial(one.sign_up, publisher.room_url)
        yield f"{one.name} signs up, and is asked by mail to confirm.", sign_up
        yield f"{one.name} follows the link, presses the button and is welcomed.", one.press_button
    yield "Emma and Ola are brought along from a file.", publisher.import_followers
    yield "A press release goes out", None
    yield from _publish(services, publisher, release, [kari, aase, emma, ola])
    yield "Two have had enough, and the others read on", None
    yield f"Kari {button}, {goodbye}", kari.press_button
    yield f"Emma clicks once in the mail client, {goodbye}", emma.click_once
    yield from _publish(services, publisher, samples.read(samples.FOLLOW_UP), [aase, ola])
    yield "Kari and Emma, who have left, get nothing.", partial(_check_silence, kari, emma)


def _publish(
    services: Services, publisher: Publisher, raw: samples.Release, followers: list[Follower]
) -> Iterator[Step]:
    """Yield the steps of one release."""
    release = samples.news(raw, f"{services.pages_url}/site")
    began, total = time.monotonic(), len(followers)
    publish = partial(publisher.publish_twice, release)
    yield f"“{release['title']}” is published, safely twice.", publish
    for one in followers:
        yield f"{one.name} has it, in {one.language}.", partial(one.receive, release)
    services.wait_for(publisher.is_done, "the end of the release")
    balance = f"the receipt balances: {total} = {total} accepted"
    check_receipt = partial(publisher.check_receipt, total)
    yield f"Done in {time.monotonic() - began:.1f} s; {balance}.", check_receipt
    texts = samples.texts(release)
    if links := [text for text in texts if text.startswith(services.pages_url)]:
        yield "Its links lead where they should.", partial(_follow, links)


def _follow(links: list[str]) -> str:
    for link in links:
        request(link)
    return links[-1]


def _check_silence(*followers: Follower) -> str:
    for mail in chain.from_iterable(one.unread() for one in followers):
        raise StepFailed(f"{mail.recipient} got “{mail.message['Subject']}”.")
    return ""
