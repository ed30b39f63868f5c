"""The follow box: the form on our pages and on other sites, and the sign-up that it sends."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from flask import Response, redirect, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from mailer.domain.followers import subscriptions
from mailer.domain.followers.signup import Answer
from mailer.errors import InvalidAddress
from mailer.mail.addresses import canonical, probably_meant, repaired
from mailer.mail.locales import best
from mailer.storage.models import Publisher
from mailer.web import web
from mailer.web.constant_time import padded_duration
from mailer.web.limits import count_attempt, count_signup
from mailer.web.pages import publisher_at, render_page, set_locale, settings
from mailer.web.request_checks import evidence, form

HONEYPOT = "message"
"""A field that people do not see: a form in which it is filled in comes from a robot."""
_AS_TYPED = "as-typed"


@dataclass(frozen=True, slots=True)
class SignUp:
    """What the answer to a form shows: it depends on the form alone, not on stored addresses."""

    typed: str
    problem: str | None = None
    """What is wrong with the address, as the English msgid of the catalogues."""
    suggestion: str | None = None
    """The address that was probably meant, about which the visitor is asked first."""
    again: bool = False
    """Whether the visitor asked for the mail once more, which the answer offers one time."""
    answer: Answer = "asked"
    minutes: int = 0
    """After how many minutes the letter leaves, if others of the network were before."""


@web.get("/<slug>/follow")
def redirect_to_room(slug: str) -> AnyResponse:
    """Redirect a visitor who reloads the answer to the form to the press room."""
    return redirect(url_for("web.press_room", slug=publisher_at(slug).slug), 303)


@web.post("/<slug>/follow")
def follow(slug: str) -> Response:
    """Sign an address up; the answer does not show whether the address was known."""
    publisher = publisher_at(slug)
    given = sign_up_by_form(publisher, request.path.removesuffix("follow"))
    if given.suggestion:
        return render_page("slip.html", publisher=publisher, given=given, token=None)
    if given.problem:
        return render_page(
            "follow.html", 422, publisher=publisher, typed=given.typed, problem=given.problem
        )
    status = 202 if given.answer == "asked" else 429
    return render_page("asked.html", status, publisher=publisher, given=given)


def sign_up_by_form(publisher: Publisher, page: str) -> SignUp:
    """Handle a submitted follow form; every page that has the form uses this.

    Raises TooManyRequests, and 400 and 413 for a body that cannot be read as a form.
    """
    try:
        fields = form()
    except HTTPException:
        count_attempt()
        raise
    set_locale(best(fields.get("locale"), publisher.locale))

    def sign_up(address: str, wait: float) -> Answer:
        return subscriptions.sign_up(settings(), publisher, address, evidence(page), wait)

    return ask_mailbox(publisher, fields, sign_up)


def ask_mailbox(
    publisher: Publisher, fields: MultiDict[str, str], ask: Callable[[str, float], Answer]
) -> SignUp:
    """Handle a form with an address to which a letter is to go; `ask` queues it after a wait.

    Raises TooManyRequests.
    """
    # Two address fields are joined with a comma, and refused as two addresses.
    entered = ", ".join(fields.getlist("address"))
    typed = "".join(filter(str.isprintable, entered)).strip()
    problem, suggestion = _judged(entered)
    if _AS_TYPED in fields:
        suggestion = None
    if problem or suggestion:
        count_attempt()
        return SignUp(typed, problem, suggestion)
    address = canonical(entered)
    answer: Answer = "asked"
    wait: float | None = None
    with padded_duration():
        if fields.get(HONEYPOT):
            count_attempt()
        elif (wait := count_signup(publisher, address)) is not None:
            answer = ask(address, wait)
    minutes = math.ceil(wait / 60) if wait and answer == "asked" else 0
    return SignUp(typed, again="again" in fields, answer=answer, minutes=minutes)


def _judged(entered: str) -> tuple[str | None, str | None]:
    """Return what is wrong with an address, and which one was probably meant."""
    smtputf8, problem, address = settings().smtputf8, None, None
    try:
        address = canonical(entered, smtputf8=smtputf8)
    except InvalidAddress as mistake:
        problem = str(mistake)
    with suppress(InvalidAddress):
        better = canonical(repaired(entered), smtputf8=smtputf8)
        meant = probably_meant(better) or better
        return problem, meant if meant != address else None
    return problem, None


@web.get("/<slug>/embed")
def embed(slug: str) -> Response:
    """Show the follow box alone, for a frame on any site."""
    return render_page("embed.html", publisher=publisher_at(slug))


@web.post("/<slug>/embed")
def follow_embedded(slug: str) -> Response:
    """Sign an address up, as `follow` does, and answer within the frame."""
    return follow(slug)


@web.get("/<slug>/embed/code")
def embed_code(slug: str) -> Response:
    """Show the HTML to copy into a page of another site."""
    return render_page("embed-code.html", publisher=publisher_at(slug))
