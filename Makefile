PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo test quick mutants letters fuzz gallery faults relays worlds lives restores bench lint check lock clean

help: ## list what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

install: .venv/.installed ## set up .venv from requirements.lock, unless it is up to date

demo: install ## try everything on this machine; options in ARGS, as in ARGS=--once
	@.venv/bin/mailer demo $(ARGS)

test: install ## run every test, against real servers; options in ARGS, as in ARGS='-k receipt'
	@tests/apt-parts.sh
	@.venv/bin/pytest $(ARGS)

quick: install ## run the tests that need no other process, in about a minute and a half
	@LETTERS_EXAMPLES=$${LETTERS_EXAMPLES:-20} .venv/bin/pytest --quick $(ARGS)

mutants: install ## write 60 small faults, and tell which tests find them (an hour or two)
	@.venv/bin/python -m tests.mutants $(ARGS)

worlds: install ## play 5,000 random worlds (a quarter of an hour), and write docs/worlds.md
	@.venv/bin/python -m tests.worlds $${WORLDS:-0 5000}

letters: install ## generate 5,000 letters, and parse each with three readers (some minutes)
	@LETTERS_EXAMPLES=$${LETTERS_EXAMPLES:-5000} .venv/bin/pytest tests/mail/test_three_readers.py \
		-n 0 -v $(ARGS)

lives: install ## lead 80 lives of a follower with two mailboxes, 20,000 steps on each database
	@LIFE_LIVES=$${LIFE_LIVES:-80} .venv/bin/pytest tests/web/test_life.py $(ARGS)

restores: install ## put a backup back in every usual way, with each witness left, and print what came of it
	@.venv/bin/python -m tests.restores $(ARGS)

fuzz: install ## read and compose made HTML for an hour, and print which seeds it was made of
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} .venv/bin/pytest tests/mail/test_fuzzed_html.py -n 0 -s -o faulthandler_timeout=0 $(ARGS)

gallery: install ## show every letter and page, wide and narrow, light and dark: gallery/
	@tests/apt-parts.sh
	@.venv/bin/python -m tests.letters
	@mkdir -p gallery/pages
	@GALLERY=gallery/pages .venv/bin/pytest --quiet \
		tests/journeys/test_in_the_browser.py tests/journeys/test_reading.py

faults: install ## break everything while mail goes out (an hour), and write docs/faults.md
	@tests/apt-parts.sh
	@FAULTS_REPORT=1 FAULTS_FOLLOWERS=$${FAULTS_FOLLOWERS:-20000} \
		.venv/bin/pytest tests/faults -n 0 -v $(ARGS)

relays: install ## let relays misbehave while releases go out (half an hour), and write docs/relays.md
	@tests/apt-parts.sh
	@tests/relays/exim-parts.sh
	@RELAYS_REPORT=1 .venv/bin/pytest tests/relays -n 0 -v $(ARGS)

# py-spy, which profiles the worker, is not in requirements.lock, and may be absent.
bench: install ## measure speed, memory and latency; options in ARGS, as in ARGS=--quick
	@tests/apt-parts.sh
	@.venv/bin/pip install --quiet --disable-pip-version-check py-spy==0.4.3 || true
	@.venv/bin/python -m tests.benchmarks $(ARGS)

lint: install ## ruff and mypy
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

check: lint test ## everything that CI runs

# uv, which writes the lock, is not in it: pip alone reads the lock.
lock: install ## renew requirements.lock to the newest versions pyproject.toml allows
	@.venv/bin/pip install --quiet uv==0.13.9
	@.venv/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --upgrade --quiet \
		--custom-compile-command 'make lock' --output-file requirements.lock

clean: ## remove .venv and everything the tools left behind
	@rm -rf .venv .node .exim .mutants gallery .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock also has the package that builds this one (hatchling): hence no build isolation.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or newer is needed; name it with: make PYTHON=python3.12' >&2; exit 1; }
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv \
		|| { echo 'Python has no venv; on Debian: apt-get install python3-venv' >&2; exit 1; }
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@
