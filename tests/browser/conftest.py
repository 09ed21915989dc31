"""A real browser, the real server with a tiny real pair, a real database: shared by all tests of pages."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright
from support import by_role, missing

from app.config import Settings
from app.db import Database
from app.main import create_app
from model.pair import load_pair

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
AXE = Path(__file__).resolve().parents[1] / "vendor" / "axe-4.14.1.min.js"
STEP_S = 0.03  # the tiny pair writes faster than anybody can look


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        missing("no Chromium here: install Debian's chromium, or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    db = Database(f"sqlite:///{tmp_path_factory.mktemp('browser') / 'test.db'}")
    db.upgrade()
    yield db
    db.close()


@pytest.fixture(scope="module")
def url(db: Database, pair_folder: Path) -> Iterator[str]:
    address = db.engine.url.render_as_string()
    pair = load_pair(pair_folder / "base", pair_folder / "tuned")
    app = create_app(Settings(database_url=address), Database(address), by_role(pair))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    engine = app.state.services.generation.engine
    step = engine.step

    def slow_step() -> object:
        time.sleep(STEP_S)
        return step()

    engine.step = slow_step
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def faults() -> Callable[[Page], list[str]]:
    """What axe-core finds against WCAG 2.2 AA and its own best practices: rule and element."""
    source = AXE.read_text()

    def check(page: Page) -> list[str]:
        page.evaluate(source)
        found = page.evaluate("() => axe.run(document)")["violations"]
        return [f"{v['id']}: {node['html'][:120]}" for v in found for node in v["nodes"]]

    return check


@pytest.fixture(scope="session")
def slow_line() -> Callable[[Page], None]:
    """From now on whatever is sent is answered later than a finger taps again."""

    def slow_down(page: Page) -> None:
        line = {"offline": False, "latency": 400, "downloadThroughput": -1, "uploadThroughput": -1}
        page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)

    return slow_down
