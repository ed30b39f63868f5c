"""The Procfile, as an operator starts it: on PostgreSQL and Redis, in one terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from tests.conftest import Databases
from tests.journeys.people import Visitor, link
from tests.processes import Process
from tests.relay import Relay
from tests.servers import Redis
from tests.service import ROOT, complete, contract
from tests.support.publishing_system import PublishingSystem

_OPEN = ["mailer", "publisher", "add", "oya", "--name=Øya", "--from=presse@example.org", "--json"]
_ENDED_BY_SIGTERM = 128 + signal.SIGTERM


def test_honcho_runs_the_whole_story(
    databases: Databases, redis: Redis, relay: Relay, tmp_path: Path
) -> None:
    with databases.fresh("postgresql") as url:
        variables = contract(database_url=url, redis_url=redis.url, smtp_url=relay.url)
        base_url = variables["BASE_URL"]
        everything = complete(variables)
        opened = subprocess.run(_OPEN, env=everything, capture_output=True, check=True)
        office = PublishingSystem(base_url, json.loads(opened.stdout)["api_key"])
        command = f"honcho --no-colour -d {ROOT} start -p {urlsplit(base_url).port}".split()
        honcho = Process(command, tmp_path / "log", environment=everything)
        kari = Visitor(relay, "kari@example.org")
        honcho.launch()
        try:
            honcho.ready(lambda: re.search(r"Booting worker", honcho.log))
            welcome = kari.follow(f"{base_url}/oya/")
            assert office.done(office.publish("honcho"))["accepted"] == 1
            kari.press(kari.get(link(welcome, "/unsubscribe/")))
            assert office.done(office.publish("honcho-2"))["total"] == 0
            assert len(kari.letters(4)) == 4
        finally:
            assert honcho.stop() == _ENDED_BY_SIGTERM, honcho.log
