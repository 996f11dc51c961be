"""What the browser tests share: a Kizu to start, real solar cells to feed it, and ways to look at a page."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import elpv_dataset
import httpx
import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

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
window.__shifted = [];
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) {
    window.__shift += entry.value;
    const words = box => [box.x, box.y, box.width, box.height].map(Math.round).join(' ');
    for (const { node, previousRect, currentRect } of entry.sources) {
      const name = node?.outerHTML?.slice(0, 80) ?? node?.textContent?.slice(0, 40);
      const at = Math.round(entry.startTime);
      window.__shifted.push(`${name}: ${words(previousRect)} -> ${words(currentRect)} at ${at} ms`);
    }
  }
}).observe({type: 'layout-shift', buffered: true});
"""
# Custom elements are alive, htmx is idle, fonts and the pictures in sight are there, and two frames were painted.
SETTLED = """async () => {
  await document.fonts.ready;
  const until = performance.now() + 8000;
  const seen = image => {
    const box = image.getBoundingClientRect();
    return box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  };
  const busy = () => document.querySelector(
      '.htmx-request, :not(:defined), [hx-trigger~="load"]:not([data-htmx-powered])')
    || [...document.images].some(image => !image.complete && seen(image));
  do {
    await new Promise(done => setTimeout(done, 60));
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  } while (busy() && performance.now() < until);
}"""
EMAIL, PASSWORD = "admin@example.com", "a long test password"
MAX_SHIFT = 0.02


@dataclass
class RunningKizu:
    """An installation that is up."""

    url: str
    home: Path
    pid: int

    def process(self, *words: str) -> psutil.Process:
        """Return the process of it whose command line holds all of these words, such as `web`, or `--queue gpu`."""
        for child in psutil.Process(self.pid).children(recursive=True):
            if set(words) <= set(child.cmdline()):
                return child
        raise AssertionError(f"No process of Kizu runs with {words}")

    def command(self, *words: str) -> str:
        """Run `kizu WORDS` on this installation; return what it printed."""
        return self.module("app.cli", *words)

    def module(self, name: str, *words: str) -> str:
        """Run a Python module on this installation; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", name, *words],
            cwd=ROOT,
            env={**_clean_environment(), "KIZU_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("KIZU_")}


@contextlib.contextmanager
def running_kizu(home: Path) -> Iterator[RunningKizu]:
    """Start `kizu up` in an empty home and wait until `/healthz` answers 200; stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **_clean_environment(),
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
        yield RunningKizu(url=url, home=home, pid=process.pid)
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


def solar_cells(probability: float, n: int, *, skip: int = 0) -> list[Path]:
    """Return pictures of real solar cells that experts called defective with this probability, in a fixed order."""
    data = Path(elpv_dataset.__file__).parent / "data"
    rows = [line.split() for line in (data / "labels.csv").read_text().splitlines() if line.strip()]
    found = [data / name for name, share, _cell in rows if float(share) == probability]
    step = max(len(found) // 200, 1)  # spread over the modules that the cells were cut from
    chosen = found[::step][skip : skip + n]
    assert len(chosen) == n
    return chosen


def zipped(folders: dict[str, list[Path]]) -> bytes:
    """Return a zip with these files in these folders."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for folder, paths in folders.items():
            for path in paths:
                archive.write(path, f"{folder}/{path.name}" if folder else path.name)
    return buffer.getvalue()


class Rest(httpx.Client):
    """A program with a key."""

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the `data` of the answer.

        Raises:
            httpx.HTTPStatusError: The answer is a problem.
        """
        answer = self.request(method, path, **options)
        answer.raise_for_status()
        return answer.json()["data"]

    def upload(self, project_id: int, archive: bytes, *, folders_as_classes: bool = True) -> list[int]:
        """Upload a zip; return the ids of the images that it became."""
        answer = self.ask(
            "POST",
            f"/v1/projects/{project_id}/images",
            files={"file": ("cells.zip", archive)},
            data={"folders_as_classes": str(folders_as_classes).lower()},
        )
        assert all(result["status"] == "created" for result in answer["results"]), answer
        return [result["image_id"] for result in answer["results"]]

    def train(self, project_id: int, **wishes: Any) -> str:
        """Start a training; return its id."""
        return self.ask("POST", f"/v1/projects/{project_id}/train", json=wishes or None)["trainingId"]

    def ended(self, project_id: int, training_id: str, *, longest_s: float = 120) -> dict[str, Any]:
        """Return how a training ended."""
        until = time.monotonic() + longest_s
        while time.monotonic() < until:
            status = self.ask("GET", f"/v1/projects/{project_id}/train/{training_id}/status")
            if status["endedAt"]:
                return status
            time.sleep(0.3)
        pytest.fail(f"The training did not end within {longest_s:g} s: {status}")


@dataclass
class Complaints:
    """What the browser said of the pages: console errors, violations of the policy, requests that failed."""

    lines: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on(
            "console", lambda m: self.lines.append(f"console: {m.text}") if m.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self.lines.append(f"script: {error}"))
        page.on("response", lambda r: self.lines.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.on("requestfailed", self._failed)

    def _failed(self, request: Any) -> None:
        # a page that one leaves drops what it was still asking for: that is no failure
        if request.failure != "net::ERR_ABORTED":
            self.lines.append(f"{request.failure} {request.url}")

    def taken(self) -> list[str]:
        """Return what was said until now, and begin anew."""
        lines, self.lines = self.lines, []
        return lines


def new_context(
    chromium: Browser, *, theme: str = "light", width_px: int = 1280, height_px: int = 800, **options: Any
) -> BrowserContext:
    context = chromium.new_context(
        viewport={"width": width_px, "height": height_px},
        color_scheme=theme,
        reduced_motion="no-preference",
        **options,
    )
    context.add_init_script(WATCH_SHIFT)
    context.set_default_timeout(20_000)
    return context


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/signin")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/projects**")


def settle(page: Page) -> None:
    """Wait until nothing of the page is under way any more."""
    page.evaluate(SETTLED)


def axe_violations(page: Page) -> list[str]:
    """Return what axe-core finds on the page as it is, each as rule, count and the first element."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{v['id']} x{len(v['nodes'])}: {v['nodes'][0]['html'][:160]} ({v['nodes'][0].get('failureSummary', '')[:200]})"
        for v in found["violations"]
    ]


def overflow_px(page: Page) -> int:
    """Return by how much the page, or what scrolls in it, is wider than its window."""
    return page.evaluate(
        """() => Math.max(...[document.documentElement, document.querySelector('.app__main') ?? document.body]
            .map(part => part.scrollWidth - part.clientWidth))"""
    )


def forget_shift(page: Page) -> None:
    """Count anew what moves: what moved until now was wanted, such as images that came in at the top of the grid."""
    page.evaluate("() => { window.__shift = 0; window.__shifted = []; }")


def shift(page: Page) -> tuple[float, list[str]]:
    """Return how much the page moved under the reader since it was opened, and the first things that moved."""
    return page.evaluate("() => [window.__shift, window.__shifted.slice(0, 3)]")
