"""A real Kizu, started as a person starts it, and a real browser that complains aloud."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from app.settings import ROOT

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
# Summed over the whole life of the page, as the browser reports it; what a person's own click moves does not count.
WATCH_SHIFT = """
window.__shift = 0;
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.__shift += entry.value;
}).observe({type: 'layout-shift', buffered: true});
"""
EMAIL, PASSWORD = "admin@example.com", "a long test password"


@dataclass
class RunningKizu:
    """An installation that is up."""

    url: str
    home: Path


@pytest.fixture(scope="module")
def kizu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKizu]:
    """Start `kizu up` in an empty home and wait until `/healthz` answers 200; stop it at the end."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KIZU_")},
        "KIZU_HOME": str(home),
        "KIZU_ADMIN_EMAIL": EMAIL,
        "KIZU_ADMIN_PASSWORD": PASSWORD,
    }
    log_path = home / "up.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "app.cli", "up", "--port", str(port)],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(url, process, log_path)
        yield RunningKizu(url=url, home=home)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/healthz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"kizu up did not become healthy:\n{log_path.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("The browser tests need Debian's Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass
class Complaints:
    """What the browser said of the pages: console errors, violations of the policy, requests that failed."""

    lines: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on(
            "console", lambda m: self.lines.append(f"console: {m.text}") if m.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self.lines.append(f"script: {error}"))
        page.on(
            "response",
            lambda r: self.lines.append(f"{r.status} {r.url}") if r.status >= 400 and "favicon" not in r.url else None,
        )


def new_context(chromium: Browser, *, theme: str = "light", width_px: int = 1280, **options: object) -> BrowserContext:
    context = chromium.new_context(
        viewport={"width": width_px, "height": 800}, color_scheme=theme, reduced_motion="no-preference", **options
    )
    context.add_init_script(WATCH_SHIFT)
    context.set_default_timeout(15_000)
    return context


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/signin")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/projects**")


def axe_violations(page: Page) -> list[str]:
    """Return what axe-core finds on the page as it is, each as rule, count and the first element."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [f"{v['id']} x{len(v['nodes'])}: {v['nodes'][0]['html'][:160]}" for v in found["violations"]]


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest) -> Path:
    """The folder that pictures of the screens go to: `build/screenshots`, or what `--screenshots` names."""
    folder = Path(request.config.getoption("--screenshots"))
    folder = folder if folder.is_absolute() else ROOT / folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder
