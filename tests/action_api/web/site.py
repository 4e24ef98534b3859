"""A whole site for tests: the real application on a real SQLite file, before an inventory made of recorded answers."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pyotp
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from action_api.app import create_app
from action_api.auth.passwords import hash_password
from action_api.routes.services import EnrolmentSource
from action_api.store import Role, Store
from pvewatch.config import Cluster, Settings
from pvewatch.inventory import (
    ClusterEntry,
    GuestEntry,
    HeartbeatEntry,
    Inventory,
    InventoryUnavailable,
    NodeEntry,
)
from pvewatch.pve import parsers
from pvewatch.secrets import Secret

RECORDED = Path(__file__).parents[2] / "fixtures" / "recorded-8.4"
START = 1_790_000_000.0
PASSWORD = "correct horse battery"
WEBHOOK_SECRET = "webhook-secret-of-this-test"
ROLES: dict[str, Role] = {"Alice": "admin", "Bob": "operator", "Charlie": "viewer"}
SECRETS = {name: f"{letter * 32}" for name, letter in (("Alice", "A"), ("Bob", "B"), ("Charlie", "C"))}


class Clock:
    """Unix seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class RecordedInventory:
    """The exporter's answer: cluster alpha (three nodes, one guest paused) and beta (a backup is running)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.reason: str | None = None
        self.clusters = [
            recorded_cluster("alpha", "c3-cluster-resources-with-paused-vm.json"),
            recorded_cluster("beta", "cluster-resources.json"),
        ]
        self.change("alpha", 100, heartbeat=heartbeat(silent=False), expected_running=True, onboot=True)
        self.change("alpha", 210, heartbeat=heartbeat(silent=True), tags=["pvewatch-auto-reset"])
        self.change("alpha", 201, expected_running=True, onboot=True)

    def fetch(self) -> Inventory:
        if self.reason:
            raise InventoryUnavailable(self.reason)
        return Inventory(generated_at=self._clock(), clusters=self.clusters)

    def change(self, cluster: str, vmid: int, **values: object) -> None:
        """Change one guest's entry."""
        self.clusters = [
            entry.model_copy(
                update={
                    "guests": [
                        guest.model_copy(update=values) if (guest.cluster, guest.vmid) == (cluster, vmid) else guest
                        for guest in entry.guests
                    ]
                }
            )
            for entry in self.clusters
        ]

    def change_cluster(self, cluster: str, **values: object) -> None:
        """Change one cluster's entry."""
        self.clusters = [e.model_copy(update=values) if e.name == cluster else e for e in self.clusters]


def recorded_cluster(name: str, file: str) -> ClusterEntry:
    """A recorded GET /cluster/resources as the exporter would tell it."""
    resources = parsers.resources(json.loads((RECORDED / file).read_text())["body"]["data"])
    fields = ("kind", "vmid", "id", "name", "node", "status", "template", "lock", "ha_state", "uptime_seconds", "pool",
              "cpu_ratio", "memory_used_bytes", "memory_limit_bytes")  # fmt: skip
    guests = [
        GuestEntry(cluster=name, tags=list(guest.tag_list), **{field: getattr(guest, field) for field in fields})
        for guest in resources.guests
    ]
    nodes = [NodeEntry(name=node.name, status=node.status) for node in resources.nodes]
    return ClusterEntry(
        name=name, members=[name], web_url=f"https://{name}.example:8006", age_seconds=3.0, error=None, quorate=True,
        version="8.4.0", nodes=nodes, guests=guests,
    )  # fmt: skip


def heartbeat(*, silent: bool) -> HeartbeatEntry:
    """An agent's newest word."""
    return HeartbeatEntry(
        last_seen=START - (400 if silent else 8),
        boot_id="7c1f7f4e-7c9e-4a7b-9c1d-2f1f6f9d7a10",
        agent_version="1.0.0",
        sequence=42,
        silent=silent,
        timeout_seconds=180,
    )


def settings_for(
    folder: Path, alertmanager_url: str = "http://127.0.0.1:1", *more_urls: str, **action_api: object
) -> Settings:
    """Settings with both clusters, and a data directory below `folder`."""
    return Settings.model_validate(
        {
            "clusters": [Cluster.model_validate({"name": n, "hosts": [f"{n}.example"]}) for n in ("alpha", "beta")],
            "data_dir": folder,
            "action_api": action_api,
            # Whatever answers on this machine's own Alertmanager port is none of these tests' business.
            "alertmanager": {"url": alertmanager_url, "more_urls": more_urls},
        }
    )


@cache
def password_hash() -> str:
    return hash_password(PASSWORD)


class Site:
    """The application with what stands behind it. Alice and Bob have a second factor, Charlie has none."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        settings: Settings | None = None,
        clock: Callable[[], float] | None = None,
        notification_stored: Callable[[], None] = lambda: None,
        enrolment: EnrolmentSource | None = None,
        **action_api: object,
    ) -> None:
        self.clock = Clock()
        self.store = store
        self.inventory = RecordedInventory(clock or self.clock)
        self.settings = settings or settings_for(folder, **action_api)
        for name, role in ROLES.items():
            user = store.users.create(name, password_hash(), role, now=START)
            if role != "viewer":
                store.users.set_totp_secret(user.id, SECRETS[name])
                store.users.confirm_totp(user.id, now=START)
        self.app: Flask = create_app(
            self.settings, store, self.inventory, webhook_secret=Secret(WEBHOOK_SECRET), clock=clock or self.clock,
            notification_stored=notification_stored, keep_inventory_seconds=0, enrolment=enrolment,
        )  # fmt: skip
        self.app.testing = False  # as in production: failures become answers

    def browser(self) -> Browser:
        """A browser that nobody has used yet."""
        return Browser(self)

    def signed_in(self, name: str) -> Browser:
        """A browser in which that person has signed in, with the second factor where there is one."""
        browser = self.browser()
        browser.sign_in(name)
        return browser


class Browser:
    """A person's browser: keeps cookies, fills in and sends the forms of the pages it was shown."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client: FlaskClient = site.app.test_client()

    def get(self, path: str, **kwargs: object) -> TestResponse:
        return self.client.get(path, **kwargs)  # type: ignore[arg-type]  # passed on as they are

    def post(self, path: str, **fields: str) -> TestResponse:
        """Send a form with nothing in it but these fields."""
        return self.client.post(path, data=fields)

    def submit(self, page: str, path: str, **fields: str) -> TestResponse:
        """Open `page`, fill in `fields`, and send its form that goes to `path`."""
        return self.post(path, **(hidden_fields(self.get(page).text, path) | fields))

    def sign_in(self, name: str, password: str = PASSWORD, next: str = "/") -> TestResponse:
        answer = self.submit(f"/sign-in?next={next}", "/sign-in", name=name, password=password)
        if answer.status_code == 303 and answer.location.startswith("/sign-in/code"):
            answer = self.give_code(name, answer.location)
        return answer

    def give_code(self, name: str, page: str = "/sign-in/code") -> TestResponse:
        # A code counts once; time passes before the next sign-in.
        self.site.clock.now += 30
        code = pyotp.TOTP(SECRETS[name]).at(int(self.site.clock.now))
        return self.submit(page, "/sign-in/code", code=code)


def hidden_fields(page: str, action: str | None = None) -> dict[str, str]:
    """The hidden fields of the page's form that goes to `action`; a form without an action goes to its own page."""
    forms = re.findall(r"<form ([^>]*)>(.*?)</form>", page, re.DOTALL)
    wanted = [body for head, body in forms if f'action="{action}"' in head] or [
        body for head, body in forms if "action=" not in head
    ]
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', wanted[0] if wanted else "")
    return {name: html.unescape(value) for name, value in found}
