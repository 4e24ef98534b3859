"""The web process of the action API: pages for people, a webhook for Alertmanager.

It writes down what people ask for; the worker does it. It has no token of Proxmox VE, and never loads what could use
one.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask, Response, request, url_for

from action_api.alertmanager import Alertmanager
from action_api.auth import sessions
from action_api.pve_alerts import Sender
from action_api.routes import (
    agents,
    api,
    display,
    errors,
    guests,
    health,
    incidents,
    maintenance,
    metrics,
    overview,
    people,
    pve,
    runbooks,
    runs,
    sign_in,
)
from action_api.routes.pve_notifications import create_blueprint as create_pve_notifications
from action_api.routes.relay import create_blueprint as create_relay
from action_api.routes.services import EXTENSION, Clock, EnrolmentSource, InventorySource, RecentInventory, Services
from action_api.routes.webhooks import create_blueprint as create_webhooks
from action_api.store import Store, StoreUnavailable, open_store
from pvewatch.config import ConfigError, Problem, Secret, Settings, internal_secret
from pvewatch.enrolment import EnrolmentClient
from pvewatch.inventory import InventoryClient
from pvewatch.serve import serve

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Above what the webhook takes, which says in its own words what was too large.
MAX_REQUEST_BYTES = 2_097_152
MAX_FORM_BYTES = 65_536
TIDY_SECONDS = 3600.0

# No inline script or style runs, whatever text a guest's name brings into a page.
_CONTENT_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

_HEADERS = {
    "Content-Security-Policy": _CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not no-referrer: with that, browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

BLUEPRINTS = (
    overview.blueprint,
    guests.blueprint,
    agents.blueprint,
    runs.blueprint,
    incidents.blueprint,
    maintenance.blueprint,
    runbooks.blueprint,
    pve.blueprint,
    people.blueprint,
    sign_in.blueprint,
    api.blueprint,
    metrics.blueprint,
    health.blueprint,
)

_log = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    store: Store,
    inventory: InventorySource,
    *,
    webhook_secret: Secret | None = None,
    pve_secret: Secret | None = None,
    notification_stored: Callable[[], None] = lambda: None,
    enrolment: EnrolmentSource | None = None,
    clock: Clock = time.time,
    keep_inventory_seconds: float = 2.0,
) -> Flask:
    """The application. `webhook_secret` is what Alertmanager presents, `pve_secret` what Proxmox VE does.

    By default they are the ones in the data directory. `enrolment` makes agents' tokens; by default the exporter.
    `notification_stored` is called after Proxmox VE has told something. Raises ConfigError when a secret cannot be made
    or read.
    """
    app = Flask(__name__)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_REQUEST_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_BYTES,
        MAX_FORM_PARTS=32,
        SEND_FILE_MAX_AGE_DEFAULT=31_536_000,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # DefaultJSONProvider has it; the base class does not
    recent = RecentInventory(inventory, keep_seconds=keep_inventory_seconds)
    app.extensions[EXTENSION] = Services(settings, store, recent, enrolment or _exporter(settings), clock)
    display.register(app)
    errors.register(app)
    sessions.register(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    presented = webhook_secret or internal_secret(settings, "webhook", create=True)
    app.register_blueprint(create_webhooks(presented))
    app.register_blueprint(create_relay(presented))
    presented_by_pve = pve_secret or internal_secret(settings, "pve-notifications", create=True)
    app.register_blueprint(create_pve_notifications(presented_by_pve, notification_stored))
    app.after_request(_secure)
    app.jinja_env.globals["asset"] = _asset_addresses(Path(app.static_folder or ""))
    app.jinja_env.globals["second_factor_required"] = settings.action_api.require_second_factor
    app.wsgi_app = _below_prefix(app.wsgi_app, urlsplit(settings.public_url).path)  # type: ignore[assignment,method-assign]  # Flask's way
    return app


def _exporter(settings: Settings) -> EnrolmentClient:
    return EnrolmentClient(settings.exporter_url, internal_secret(settings, "enrolment", create=True))


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, also where the database cannot be opened, and CannotListen."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    inventory = InventoryClient(settings.exporter_url, internal_secret(settings, "inventory", create=True))
    try:
        store = open_store(settings.database_url)
    except StoreUnavailable as error:
        remedy = "start the database, or mend action_api.database_url"
        raise ConfigError([Problem("action_api.database_url", str(error), remedy)]) from error
    try:
        sender = Sender(store, [Alertmanager(url) for url in settings.alertmanager_urls], time.time)
        app = create_app(settings, store, inventory, notification_stored=sender.wake)
        server = serve(app, settings.action_api.listen).start()
        sender.start()
        _log.info("action API listens", extra={"address": server.address, "public_url": settings.public_url})
        if not settings.action_api.require_second_factor:
            _log.warning("action_api.require_second_factor is false: a password alone is enough to act on guests")
        try:
            while not stop.wait(TIDY_SECONDS):
                tidy(store, now=time.time())
        finally:
            server.stop()
            sender.stop()
    finally:
        store.close()


def tidy(store: Store, *, now: float) -> None:
    """Remove what nobody needs any more: ended sessions, old failures to sign in."""
    store.sessions.remove_expired(now=now)
    store.login_failures.remove_older(now - 86_400)


def _secure(answer: Response) -> Response:
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    if request.endpoint != "static":
        answer.headers["Cache-Control"] = "no-store"
    return answer


def _asset_addresses(folder: Path) -> Callable[[str], str]:
    """Addresses of static files that change with their content, so that browsers may keep them for ever."""
    versions = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in folder.iterdir() if file.is_file()
    }
    return lambda name: url_for("static", filename=name, v=versions[name])


def _below_prefix(app: WSGIApplication, prefix: str) -> WSGIApplication:
    """Serve below the path of public_url, whether the proxy in front takes that path away or passes it on."""
    prefix = prefix.rstrip("/")
    if not prefix:
        return app

    def prefixed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path: Any = environ.get("PATH_INFO", "")
        if path == prefix or path.startswith(f"{prefix}/"):
            environ["PATH_INFO"] = path[len(prefix) :] or "/"
        environ["SCRIPT_NAME"] = prefix
        return app(environ, start_response)

    return prefixed
