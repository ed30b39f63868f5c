"""The Flask application: the one module that imports all blueprints."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Concatenate, ParamSpec, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from mailer.api import api
from mailer.api.health import health
from mailer.config import TEMPLATES, Settings
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
    # Flask documents this way of adding middleware; mypy sees a method overwritten, here and below.
    app.wsgi_app = _ScriptName(app.wsgi_app)  # type: ignore[method-assign]
    if settings.trusted_proxies:
        trusted = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=trusted, x_proto=trusted)  # type: ignore[method-assign]
    return app


class _ScriptName:
    """Serves the application at the root of BASE_URL's host, whatever prefix a client names.

    gunicorn takes the header SCRIPT_NAME of a local peer, and links would lead to where it says.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        return self._application({**environ, "SCRIPT_NAME": ""}, start_response)


def with_settings(command: Callable[Concatenate[Settings, P], T]) -> Callable[P, T]:
    """Decorate a command: it gets the settings as its first argument, and an app context."""

    @functools.wraps(command)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        settings = Settings.from_environment()
        with create_app(settings).app_context():
            return command(settings, *args, **kwargs)

    return within
