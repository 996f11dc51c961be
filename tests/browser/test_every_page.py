"""Every page, in both themes, on a desk and on a tablet: what "held by tests" in the interface's brief means."""

import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.line import BACKBONE, Line
from tests.browser.pages import PAGES, SHAPE_PAGES, Shaped
from tests.browser.support import (
    MAX_SHIFT,
    Complaints,
    axe_violations,
    new_context,
    overflow_px,
    settle,
    shift,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


USABLE_S = 3.0  # the brief says one second on two idle cores; here other tests and a training may run beside it
# Each theme and each width once: what is wrong with a page shows in one of them.
LOOKS = [("light", 1280), ("dark", 820)]
PICTURED_IN_THE_DARK = [*LOOKS, ("dark", 1280)]

# kept as pictures: (page, theme, width): name of the file
PICTURES = {
    ("projects", "light", 1280): "projects-light",
    ("data", "light", 1280): "data-light",
    ("data", "dark", 820): "data-dark-tablet",
    ("data, an image beside", "dark", 1280): "data-image-dark",
    ("data, nothing fits", "light", 1280): "data-nothing-fits",
    ("label", "dark", 1280): "label-dark",
    ("label", "light", 820): "label-light-tablet",
    ("train, done", "light", 1280): "train-done-light",
    ("train, failed", "light", 1280): "train-failed",
    ("models", "light", 1280): "models-light",
    ("compare", "light", 1280): "compare-light",
    ("endpoint", "dark", 1280): "endpoint-dark",
    ("monitor", "light", 1280): "monitor-light",
    ("model, anomalies", "light", 1280): "model-anomalies-light",
    ("model, anomalous images", "dark", 1280): "model-anomalous-images-dark",
    ("keys", "light", 1280): "keys-light",
    ("model, one image", "light", 1280): "model-image-light",
}


@pytest.fixture(scope="module")
def signed_in(at_line: Callable[..., BrowserContext]) -> Iterator[Callable[..., BrowserContext]]:
    """Return a function that gives the browser of somebody who is signed in: one for each theme and width."""
    contexts: dict[tuple[str, int], BrowserContext] = {}

    def of(theme: str, width_px: int) -> BrowserContext:
        if (theme, width_px) not in contexts:
            contexts[theme, width_px] = at_line(theme=theme, width_px=width_px)
        return contexts[theme, width_px]

    yield of
    for context in contexts.values():
        context.close()


def look(page: Page, url: str, *, complaints: Complaints, status: int = 200) -> None:
    """Open an address and fail with all that is wrong with its page."""
    page.goto("about:blank")
    complaints.taken()
    answer = page.goto(url)
    assert answer is not None
    usable_s = page.evaluate("() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") / 1000
    settle(page)
    moved, movers = shift(page)
    too_wide_px = overflow_px(page)
    report = {
        "status": answer.status if answer.status != status else None,
        "axe": axe_violations(page),
        "complaints": [line for line in complaints.taken() if status == 200 or f"{status} " not in line],
        "layout shift": (moved, movers) if moved > MAX_SHIFT else None,
        "wider than the window by px": too_wide_px if too_wide_px > 0 else None,
        "usable after s": usable_s if usable_s > USABLE_S else None,
        "headings of the first rank": n_h1 if (n_h1 := page.locator("h1").count()) != 1 else None,
        "title": page.title() if "Kizu" not in page.title() else None,
    }
    print(f"{usable_s:5.2f} s, shift {moved:.3f}: {url}")
    wrong = {name: found for name, found in report.items() if found}
    assert not wrong, f"{url}\n{json.dumps(wrong, indent=1, ensure_ascii=False)}"


def views() -> list[tuple[str, str, int]]:
    """Return what is looked at: page, theme, width; of the pages that are kept as pictures those looks as well."""
    usual = [(name, *look) for name in PAGES for look in LOOKS]
    return list(dict.fromkeys([*usual, *PICTURES]))


@pytest.mark.parametrize(("name", "theme", "width_px"), views())
def test_page(
    line: Line,
    signed_in: Callable[..., BrowserContext],
    keep: Callable[[Page, str], None],
    name: str,
    theme: str,
    width_px: int,
) -> None:
    page = signed_in(theme, width_px).new_page()
    complaints = Complaints()
    complaints.listen(page)
    look(page, line.url + PAGES[name](line), complaints=complaints)
    if picture := PICTURES.get((name, theme, width_px)):
        keep(page, picture)
    page.close()


@pytest.fixture(scope="module")
def shaped(line: Line) -> dict[str, Shaped]:
    """Beside the line, a project with boxes and one with masks, with models of theirs."""
    made = json.loads(line.kizu.module("tests.browser.shape_models", line.url, line.key).splitlines()[-1])
    return {name: Shaped(**one) for name, one in made.items()}


def shape_views() -> list[tuple[str, str, str, int]]:
    """Return what is looked at: type, page, theme, width; each page once, and those of both types in both looks."""
    return [(*page, *LOOKS[place % len(LOOKS)]) for place, page in enumerate(SHAPE_PAGES)]


@pytest.mark.parametrize(("kind", "name", "theme", "width_px"), shape_views())
def test_page_of_shapes(
    line: Line,
    shaped: dict[str, Shaped],
    signed_in: Callable[..., BrowserContext],
    kind: str,
    name: str,
    theme: str,
    width_px: int,
) -> None:
    page = signed_in(theme, width_px).new_page()
    complaints = Complaints()
    complaints.listen(page)
    one = shaped[kind]
    look(page, f"{line.url}/projects/{one.project_id}/{SHAPE_PAGES[kind, name](one)}", complaints=complaints)
    page.close()


@pytest.mark.parametrize(("theme", "width_px"), LOOKS)
def test_pages_of_a_stranger(
    line: Line, chromium: Browser, keep: Callable[[Page, str], None], theme: str, width_px: int
) -> None:
    context = new_context(chromium, theme=theme, width_px=width_px)
    page = context.new_page()
    complaints = Complaints()
    complaints.listen(page)
    look(page, f"{line.url}/signin", complaints=complaints)
    if (theme, width_px) == ("light", 1280):
        keep(page, "signin-light")
    context.close()


@pytest.mark.parametrize(("theme", "width_px"), PICTURED_IN_THE_DARK)
def test_the_page_of_what_is_not_there(
    line: Line,
    signed_in: Callable[..., BrowserContext],
    keep: Callable[[Page, str], None],
    theme: str,
    width_px: int,
) -> None:
    page = signed_in(theme, width_px).new_page()
    complaints = Complaints()
    complaints.listen(page)
    look(page, f"{line.url}/projects/999999/data", complaints=complaints, status=404)
    if (theme, width_px) == ("dark", 1280):
        keep(page, "problem-dark")
    page.close()


def test_a_training_without_its_files_names_them_and_says_what_to_do(
    line: Line, signed_in: Callable[..., BrowserContext]
) -> None:
    page = signed_in("light", 1280).new_page()
    page.goto(f"{line.url}{PAGES['train, failed'](line)}")
    said = page.get_by_role("alert").inner_text()
    assert "The original files of 8 of 8 images are missing from the store: cell" in said
    assert "and 3 more. Put the files back from a backup, or delete these images and upload them again" in said
    assert "fault of Kizu" not in page.content()
    page.close()


def test_the_rest_reference_is_shown_without_a_complaint(line: Line, signed_in: Callable[..., BrowserContext]) -> None:
    page = signed_in("light", 1280).new_page()
    complaints = Complaints()
    complaints.listen(page)
    page.goto(f"{line.url}/docs")
    page.get_by_text("/v1/projects", exact=True).first.wait_for()
    assert complaints.taken() == []
    page.close()


def test_a_training_under_way_in_every_look(
    line: Line, signed_in: Callable[..., BrowserContext], keep: Callable[[Page, str], None]
) -> None:
    worker = line.kizu.process("--queue", "gpu")
    training_id = line.rest.train(line.project_id, **BACKBONE, kizu={"symmetry": "flips"})
    # held in the middle, so that all looks see the same thing
    until = time.monotonic() + 60
    while (status := line.rest.ask("GET", f"/v1/projects/{line.project_id}/train/{training_id}/status")) and (
        status["state"] == "queued" or status["stage"] in {"", "Starting"}
    ):
        assert time.monotonic() < until, "no worker took the training"
        time.sleep(0.05)
    held = [worker, *worker.children(recursive=True)]
    for process in held:
        process.send_signal(signal.SIGSTOP)
    try:
        for theme, width_px in PICTURED_IN_THE_DARK:
            page = signed_in(theme, width_px).new_page()
            complaints = Complaints()
            complaints.listen(page)
            look(page, f"{line.url}/projects/{line.project_id}/train", complaints=complaints)
            assert page.locator(f"#job-{training_id} .steps__step--now").count() == 1
            assert page.get_by_role("button", name="Stop").is_visible()
            if (theme, width_px) == ("dark", 1280):
                keep(page, "train-running-dark")
            page.close()
    finally:
        for process in held:
            process.send_signal(signal.SIGCONT)
    assert line.rest.ended(line.project_id, training_id)["state"] == "succeeded"
