"""An email subscription service for press rooms; this page is the map of the code.

A visitor follows a press room and confirms by mail. The publishing system makes one call per
release, and every follower gets it by mail, once. One click unsubscribes, for ever.

    5  cli  demo                 commands; the whole service on one machine
    4  app                       create_app(settings): the one module that imports every entry point
    3  web  api  fanout          pages for visitors, JSON for publishing systems; sending
    2  domain                    what may happen: one use case, one function, one transaction
    1  mail  storage             letters and SMTP; tables, transactions and queues
    0  config  relay  errors     the settings; relay and DKIM keys; what can go wrong

Imports only go down, and packages of one layer do not import each other: the domain starts the
fan-out by the dotted name of a job. `tests/test_promises.py` checks both.

- *Signing up*: `web.follow` → `domain.followers.subscriptions` → `domain.followers.signup` →
  an outbox message → `fanout.delivery.outbox`.
- *Publishing*: `api.releases` → `domain.releases.publishing`, whose letters another program
  composes (`mail.composer`, `mail.compose`) → a wake-up job (`storage.queues`) → `fanout.worker` →
  `fanout.delivery`: `freeze` writes the audience as batches, `batches` claims them,
  `delivery.batch` sends them, `acknowledgements` records the positions.
- *Unsubscribing*: `web.subscription`, or by mail `cli.inbound` → `domain.verp`; both →
  `domain.followers.subscriptions`.
- *Accounting*: `domain.releases.receipts` reads what `fanout.acknowledgements` and
  `fanout.outcomes` wrote.

The rows are the truth, and a job only wakes a worker: `fanout.sweep` finds lost and overdue work
in the rows, and wakes workers for it.
"""
