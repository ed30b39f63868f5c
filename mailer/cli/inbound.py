"""`mailer inbound`: acts on one message that a mail server passes on for the mail domain."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

import click
from sqlalchemy.exc import SQLAlchemyError

from mailer.app import with_settings
from mailer.config import Settings
from mailer.domain.followers import links, subscriptions
from mailer.domain.followers.subscriptions import Evidence, SubscriptionView
from mailer.domain.verp import Purpose
from mailer.errors import InvalidLink, MailerError, UnknownMailbox, UnusableMessage
from mailer.mail.inbound import InboundMessage, read_message

log = logging.getLogger(__name__)


@click.command("inbound")
@click.option("--recipient", metavar="ADDRESS", help="The envelope recipient of the message.")
def inbound(recipient: str | None) -> None:
    """Take one message from standard input, and act on it.

    Without --recipient, the address is taken from Delivered-To, X-Original-To or To. The exit
    status is one of sysexits.h: 0 done, 65 no message, 67 not for us, 75 try again later.
    """
    try:
        _take_in(recipient)
    except UnusableMessage as problem:
        _end(str(problem), os.EX_DATAERR)
    except (UnknownMailbox, InvalidLink):
        _end("No mailbox has this address.", os.EX_NOUSER)
    except MailerError as problem:
        # A setting is wrong. The mail server keeps the message and tries again later.
        _end(str(problem), os.EX_TEMPFAIL)
    except SQLAlchemyError as problem:
        _end(f"The database does not answer ({type(problem).__name__}).", os.EX_TEMPFAIL)
    except Exception:
        log.exception("A message broke.")
        sys.exit(os.EX_TEMPFAIL)


@with_settings
def _take_in(settings: Settings, recipient: str | None) -> None:
    message = read_message(sys.stdin.buffer)
    addresses = message.recipients if recipient is None else [recipient]
    return_path, view = links.opened_by_mail(settings, addresses)
    log.info(_act(settings, return_path.purpose, view, message), view.id)


def _act(
    settings: Settings, purpose: Purpose, view: SubscriptionView, message: InboundMessage
) -> str:
    """Do what a message to a return path asks for, and return a sentence for the log."""
    if purpose == "bounce":
        return "A letter to subscription %d came back; nothing follows from it."
    if message.automatic:
        return "A machine answered for subscription %d; nothing follows from it."
    evidence = Evidence(view.locale, f"mailto:{settings.mail_domain}", None)
    subscriptions.unsubscribe(settings, view.id, evidence, "mailto")
    return "Subscription %d has ended, by mail."


def _end(sentence: str, status: int) -> NoReturn:
    """Exit with a status and a sentence for the bounce and the mail server's log, no address."""
    click.echo(sentence, err=True)
    sys.exit(status)
