"""One person at one browser: small deeds that the stories are told with."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.support import MAX_SHIFT, Complaints, axe_violations, forget_shift, overflow_px, settle, shift

LONG_MS = 150_000


@dataclass
class Journey:
    """A page, what it complains of, and where its pictures go."""

    page: Page
    url: str
    keep: Callable[[Page, str], None]
    complaints: Complaints

    def all_is_well(self, picture: str | None = None) -> None:
        """Fail where the screen as it stands now would disappoint; keep a picture of it."""
        settle(self.page)
        assert self.complaints.taken() == []
        assert axe_violations(self.page) == []
        assert overflow_px(self.page) <= 0
        moved, movers = shift(self.page)
        assert moved <= MAX_SHIFT, (self.page.url, moved, movers)
        forget_shift(self.page)
        if picture:
            self.keep(self.page, picture)

    def go(self, section: str) -> None:
        """Open a section by its word in the rail."""
        self.page.get_by_role("navigation", name="Sections").get_by_role("link", name=section).click()
        self.page.wait_for_url(f"**/{section.lower()}**")
        settle(self.page)

    def drop(self, *paths: Path) -> None:
        """Let files or folders of this machine fall on the middle of the page, as from its file manager."""
        devtools = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 640, "y": 400, "data": data})
        devtools.detach()

    def copied(self, region: Locator) -> str:
        """Press the Copy button of a region; return what is in the clipboard then."""
        region.get_by_role("button", name="Copy").click()
        return self.page.evaluate("() => navigator.clipboard.readText()")

    def fates(self) -> dict[str, str]:
        """Return what the tray of the upload says of each file that it names."""
        rows = self.page.locator(".tray__row").all()
        return {
            row.locator(".clip").inner_text(): " ".join(
                row.locator(".tray__fate, .tray__detail").all_inner_texts()
            ).strip()
            for row in rows
        }

    def uploaded(self, summary: str) -> None:
        """Wait until the tray sums up an upload with these words."""
        expect(self.page.locator(".tray__title")).to_have_text(summary, timeout=60_000)
        settle(self.page)
        forget_shift(self.page)


def run(script: str, *command: str, folder: Path) -> str:
    """Give a script to a program on this machine, as somebody who pasted it; return what it printed."""
    done = subprocess.run(command, input=script, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seconds(deed: Callable[[], object]) -> float:
    """Return how long a deed took."""
    begun = time.monotonic()
    deed()
    return time.monotonic() - begun
