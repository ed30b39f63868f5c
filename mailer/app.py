"""The application: the one place that knows every room."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from mailer.api import api
from mailer.api.health import health
from mailer.config import TEMPLATES, Settings
from mailer.storage.database import db
from mailer.web import web
from mailer.web.limits import limit


def create_app(settings: Settings | None = None) -> Flask:
    """Build the web application; without settings, they are read from the environment."""
    settings = settings or Settings.from_environment()
    app = Flask("mailer", template_folder=str(TEMPLATES), static_folder=None)
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        # Parameters hold addresses, and errors end up in the log.
        "hide_parameters": True,
        # However many threads there are, each keeps its connection: another costs a whole sign-up.
        "pool_size": 0,
    }
    app.extensions["settings"] = settings
    db.init_app(app)
    for room in (health, api, web):
        app.register_blueprint(room)
    limit(app, settings)
    if settings.trusted_proxies:
        trusted = settings.trusted_proxies
        # Flask's own way of adding middleware, which mypy takes for overwriting a method.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=trusted, x_proto=trusted)  # type: ignore[method-assign]
    return app
