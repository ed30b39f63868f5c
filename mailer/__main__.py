"""Runs the command `mailer` as `python -m mailer`."""

from mailer.cli import main

main()
