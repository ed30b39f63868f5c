"""Lets `python -m mailer` be the command `mailer`."""

from mailer.cli import main

main()
