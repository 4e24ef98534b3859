"""A real Chromium before the real application, served as in production."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from action_api.store import Store, open_store
from pvewatch.enrolment import Enrolment, Platform
from pvewatch.serve import serve
from tests.action_api.web.site import Site, heartbeat, settings_for

CHROMIUM = "/usr/bin/chromium"
# Nothing of Chromium's own goes to the network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


INSTALLER_TOKEN = "v1.alpha.100." + "5e" * 32


class Exporter:
    """Gives tokens and installers as the exporter does."""

    def ask(self, _cluster: str, _vmid: int, platform: Platform | None) -> Enrolment:
        script = f"# installer\n{INSTALLER_TOKEN}\n" if platform else None
        return Enrolment(token=INSTALLER_TOKEN, url="https://pvewatch.example:9223", script=script)


class LiveSite(Site):
    """A site that a browser can reach, on the clock of this machine."""

    def __init__(self, folder: Path, store: Store, alertmanager_url: str = "http://127.0.0.1:1") -> None:
        super().__init__(
            folder, store, settings=settings_for(folder, alertmanager_url), clock=time.time, enrolment=Exporter()
        )
        self.base = ""
        now = time.time()
        self.inventory.change("alpha", 100, heartbeat=heartbeat(silent=False).model_copy(update={"last_seen": now - 8}))
        self.inventory.change(
            "alpha", 210, heartbeat=heartbeat(silent=True).model_copy(update={"last_seen": now - 400})
        )


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not shutil.which(CHROMIUM):
        pytest.skip(f"{CHROMIUM} is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def alertmanager_url() -> str:
    """Where the site looks for Alertmanager; a test that needs one replaces this."""
    return "http://127.0.0.1:1"


@pytest.fixture
def live(tmp_path: Path, alertmanager_url: str) -> Iterator[LiveSite]:
    store = open_store(f"sqlite:///{tmp_path / 'action_api.db'}")
    site = LiveSite(tmp_path, store, alertmanager_url)
    server = serve(site.app, "127.0.0.1:0").start()
    site.base = f"http://{server.address[0]}:{server.address[1]}"
    yield site
    server.stop()
    store.close()


@pytest.fixture(params=[1440, 390], ids=["desktop", "phone"])
def context(chromium: Browser, live: LiveSite, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    context = chromium.new_context(
        viewport={"width": request.param, "height": 900}, base_url=live.base, color_scheme="light"
    )
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which no script may fail and the content policy may stop nothing."""
    problems: list[str] = []
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    assert problems == []
