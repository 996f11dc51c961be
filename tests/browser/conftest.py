"""A real Kizu, started as a person starts it, and a real browser that complains aloud."""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from app.settings import ROOT
from tests.browser.drawing import Drawing, Hand, drawing
from tests.browser.line import Line, build_line
from tests.browser.support import (
    CHROMIUM_FLAGS,
    MAX_SHIFT,
    Complaints,
    RunningKizu,
    new_context,
    running_kizu,
    settle,
    shift,
    sign_in,
)

MAX_PICTURE_BYTES = 300_000


@pytest.fixture
def kizu(tmp_path: Path) -> Iterator[RunningKizu]:
    """A Kizu that nobody has used yet."""
    with running_kizu(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A Kizu at work: images, labels, models, endpoints, calls. Tests that change it use what is theirs alone."""
    with running_kizu(tmp_path_factory.mktemp("line")) as running:
        built = build_line(running)
        yield built
        built.rest.close()


# A module at a time: while Playwright's loop runs, no other test of this process can run a loop of its own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("The browser tests need Debian's Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def at_line(line: Line, chromium: Browser) -> Callable[..., BrowserContext]:
    """Return a function that gives the browser of the line's owner, who has signed in before."""
    return _signed_in(chromium, line.url)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawing]:
    """A Kizu with images to draw on. Each test has images of its own there."""
    with drawing(tmp_path_factory.mktemp("drawing")) as built:
        yield built


@pytest.fixture(scope="module")
def inside(parts: Drawing, chromium: Browser) -> Callable[..., BrowserContext]:
    """Return a function that gives the browser of who draws, who has signed in before."""
    return _signed_in(chromium, parts.url)


@pytest.fixture
def complaints() -> Complaints:
    """What `page` complained of."""
    return Complaints()


@pytest.fixture
def page(inside: Callable[..., BrowserContext], complaints: Complaints) -> Iterator[Page]:
    """A page of who draws, where a module has no page of its own; it may not complain, nor jump."""
    context = inside()
    opened = context.new_page()
    complaints.listen(opened)
    yield opened
    assert complaints.taken() == []
    moved, movers = shift(opened)
    assert moved <= MAX_SHIFT, movers
    context.close()


@pytest.fixture
def boxes(page: Page, parts: Drawing) -> Hand:
    """A hand in the detection project."""
    return Hand(page, parts.url, parts.boxes_id)


@pytest.fixture
def masks(page: Page, parts: Drawing) -> Hand:
    """A hand in the segmentation project."""
    return Hand(page, parts.url, parts.masks_id)


def _signed_in(chromium: Browser, url: str) -> Callable[..., BrowserContext]:
    first = new_context(chromium)
    sign_in(first.new_page(), url)
    state = first.storage_state()
    first.close()
    return lambda **look: new_context(chromium, storage_state=state, **look)


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest) -> Path:
    """The folder that pictures of the screens go to: `build/screenshots`, or what `--screenshots` names."""
    folder = Path(request.config.getoption("--screenshots"))
    return folder if folder.is_absolute() else ROOT / folder


@pytest.fixture(scope="session")
def keep(screenshots: Path) -> Callable[[Page, str], None]:
    """Return a function that keeps a picture of the window as it is, small enough for a repository.

    The committed gallery gets only the pictures that its page lists.
    """
    gallery = ROOT / "docs" / "gallery"
    listed = set(re.findall(r"\]\(([\w-]+)\.png\)", (gallery / "README.md").read_text()))

    def kept(page: Page, name: str) -> None:
        settle(page)
        png = page.screenshot(animations="disabled")
        folder = ROOT / "build" / "screenshots" if screenshots == gallery and name not in listed else screenshots
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(png if len(png) <= MAX_PICTURE_BYTES else with_fewer_colours(png))

    return kept


def with_fewer_colours(png: bytes) -> bytes:
    """Return the picture with 256 colours, of which the few coloured pixels get as many as the many grey ones."""
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    coloured = picture[np.ptp(picture, axis=2) > 24]
    half = [Image.fromarray(part).quantize(128).getpalette() for part in (picture, coloured[None]) if part.size]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for part in half for value in part])
    buffer = io.BytesIO()
    few = Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
    few.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
