"""An email subscription service for press rooms, in a few rooms; this page is the map.

A visitor follows a press room and confirms by mail. The publishing system makes one call
per release, and every follower has it in the inbox, once. One click leaves, for ever.

    5  cli  demo                 commands; everything on one machine, nothing to install
    4  app                       create_app(settings): the one place that knows every room
    3  web  api  fanout          the doors, and the work behind them
    2  domain                    what may happen: one use case, one function, one transaction
    1  mail  storage             letters and SMTP; rows and queues. They do not know each other
    0  config  parts  errors     the settings; what they describe; what can go wrong

Imports only go down, and rooms on one floor never meet (`tests/test_promises.py`).
Four ways through the house:

- *Signing up*: `web.follow` → `domain.subscriptions` → `domain.asking` → an outbox row →
  `fanout.letters`.
- *Publishing*: `api.releases` → `domain.publishing` → a doorbell (`storage.queues`) →
  `fanout.freeze` settles who gets it → `fanout.batches` is claimed → `fanout.delivery` sends →
  `fanout.committer` records.
- *Leaving by mail*: `cli.inbound` → `domain.mailboxes` → `domain.subscriptions`.
- *Accounting*: `domain.receipts` reads what `fanout.acknowledgements` wrote.

The rows are the truth and a queued job is only a doorbell: whatever dies, `fanout.sweep`
finds what is left to do in the rows and rings again.
"""
