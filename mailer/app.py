"""The Flask application: the one module that imports all blueprints."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from mailer.api import api
from mailer.api.health import health
from mailer.config import TEMPLATES, Settings
from mailer.domain.fingerprints import tell_of_missing_keys
from mailer.storage.database import db
from mailer.web import limits, web

P = ParamSpec("P")
T = TypeVar("T")


def create_app(settings: Settings | None = None) -> Flask:
    """Build the web application; without settings, they are read from the environment."""
    settings = settings or Settings.from_environment()
    app = Flask("mailer", template_folder=str(TEMPLATES), static_folder=None)
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        # The parameters contain addresses, and errors are logged.
        "hide_parameters": True,
        # No limit, so each thread keeps its connection: a new one costs as much as a sign-up.
        "pool_size": 0,
    }
    app.extensions["settings"] = settings
    db.init_app(app)
    for blueprint in (health, api, web):
        app.register_blueprint(blueprint)
    limits.init_app(app, settings)
    if settings.trusted_proxies:
        trusted = settings.trusted_proxies
        # Flask documents this way of adding middleware; mypy sees a method overwritten.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=trusted, x_proto=trusted)  # type: ignore[method-assign]
    return app


def served() -> Flask:
    """Build the web application as its process starts, and look whether its keys are all there."""
    app = create_app()
    with app.app_context():
        tell_of_missing_keys(app.extensions["settings"])
    return app


def with_settings(command: Callable[Concatenate[Settings, P], T]) -> Callable[P, T]:
    """Decorate a command: it gets the settings as its first argument, and an app context."""

    @functools.wraps(command)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        settings = Settings.from_environment()
        with create_app(settings).app_context():
            return command(settings, *args, **kwargs)

    return within
