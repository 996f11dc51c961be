"""The Label screen by keys: how soon the next image is there, and that each tool does what its key says."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.line import Line
from tests.browser.support import MAX_SHIFT, Complaints, settle, shift

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SOON_MS = 300  # the target is 100 ms on two idle cores; here other tests and a training may run beside it
# From the press of a key, as the browser stamps it, to the moment at which the browser says that it showed the picture
# of another image (Element Timing: decoded, drawn, presented). Its own label came in with it.
PRESS_TO_PAINT = """() => {
  window.__painted = [];
  let pressed = null;
  document.addEventListener('keydown', event => { if (/^Arrow/.test(event.key)) pressed = event.timeStamp; }, true);
  const mark = () => document.querySelector('#annotator [data-part=image]')?.setAttribute('elementtiming', 'label');
  new MutationObserver(mark).observe(document.querySelector('#main'), {childList: true, subtree: true});
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) {
      if (entry.identifier === 'label' && pressed !== null && entry.renderTime > pressed) {
        window.__painted.push(entry.renderTime - pressed);
        pressed = null;
      }
    }
  }).observe({type: 'element'});
}"""


@pytest.fixture
def page(line: Line, at_line: Callable) -> Iterator[Page]:
    """The Label screen at the eleventh of all images, by name."""
    context = at_line()
    page = context.new_page()
    complaints = Complaints()
    complaints.listen(page)
    page.goto(f"{line.url}/projects/{line.project_id}/label?sort=name&image={named(line)[10]}")
    settle(page)
    yield page
    assert complaints.taken() == []
    assert shift(page)[0] <= MAX_SHIFT
    context.close()


def named(line: Line) -> list[int]:
    """Return the ids of the labelled images in the order of their names."""
    images = [line.rest.ask("GET", f"/v1/projects/{line.project_id}/images/{one}") for one in line.image_ids]
    return [image["id"] for image in sorted(images, key=lambda image: (image["name"], image["id"]))]


def shown(page: Page) -> str:
    return page.locator("#annotator").get_attribute("image-id")


def zoom(page: Page) -> str:
    return page.locator("[data-part=zoom]").inner_text()


def plane(page: Page) -> str:
    return page.locator("[data-part=plane]").evaluate("plane => getComputedStyle(plane).transform")


def test_the_next_image_is_there_at_once(page: Page) -> None:
    page.evaluate(PRESS_TO_PAINT)
    n_presses = 24
    for index in range(n_presses):
        page.wait_for_timeout(250)  # a glance: what a person needs to see that a part is good
        page.keyboard.press("ArrowRight" if index < n_presses // 2 else "ArrowLeft")
        page.wait_for_function("n => window.__painted.length === n", arg=index + 1)
    took_ms = sorted(page.evaluate("() => window.__painted"))
    p50, p95 = (took_ms[round(share * (n_presses - 1))] for share in (0.5, 0.95))
    print(
        f"Label, arrow key pressed to picture presented, {n_presses} walks of 300 x 300 px images, "
        f"250 ms apart: p50 {p50:.0f} ms, p95 {p95:.0f} ms"
    )
    assert p50 < SOON_MS, took_ms


def test_a_held_arrow_walks_as_far_as_it_is_pressed(page: Page) -> None:
    page.evaluate(PRESS_TO_PAINT)
    begun = shown(page)
    for _ in range(6):
        before = shown(page)
        page.keyboard.press("ArrowRight")
        expect(page.locator("#annotator")).not_to_have_attribute("image-id", before)
    for _ in range(6):
        before = shown(page)
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#annotator")).not_to_have_attribute("image-id", before)
    assert shown(page) == begun


def test_a_screen_fetched_ahead_knows_ones_own_last_label(line: Line, at_line: Callable) -> None:
    context = at_line()
    page = context.new_page()
    page.goto(f"{line.url}/projects/{line.project_id}/label?sort=name&image={line.unlabelled_ids[6]}")
    settle(page)
    page.wait_for_timeout(500)  # the neighbours' screens have come
    labelled = page.locator("#label-progress .num")
    before = int(labelled.inner_text().split()[0])
    first = shown(page)
    page.keyboard.press("2")
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    name = page.locator(".classes__row:has(:checked) .classes__name").inner_text().split("\n")[0]
    count = page.locator(".classes__row:has(:checked) .classes__count").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#annotator")).not_to_have_attribute("image-id", first)
    expect(labelled).to_have_text(re.compile(rf"^{before + 1} of "))
    expect(page.locator(f"#strip-note-{first}")).to_contain_text(name)
    row = page.locator(".classes__row", has=page.locator(".classes__name", has_text=name))
    expect(row.locator(".classes__count")).to_have_text(count)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#annotator")).to_have_attribute("image-id", first)
    expect(page.locator(".classes__row:has(:checked) .classes__name")).to_contain_text(name)
    page.keyboard.press("0")
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    expect(labelled).to_have_text(re.compile(rf"^{before} of "))
    context.close()


def test_undo_and_redo_go_back_to_the_image_where_it_was(line: Line, at_line: Callable) -> None:
    context = at_line()
    page = context.new_page()
    page.goto(f"{line.url}/projects/{line.project_id}/label?sort=name&image={line.unlabelled_ids[8]}")
    settle(page)
    first = shown(page)
    page.keyboard.press("1")
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    chosen = page.locator("[name=category_id]:checked").get_attribute("value")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#annotator")).not_to_have_attribute("image-id", first)
    page.keyboard.press("Control+z")
    expect(page.locator("#annotator")).to_have_attribute("image-id", first)
    expect(page.locator("[name=category_id]:checked")).to_have_attribute("value", "")
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    page.keyboard.press("Control+Shift+z")
    expect(page.locator("[name=category_id]:checked")).to_have_attribute("value", chosen)
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    page.keyboard.press("1")  # the same key again takes the class away
    expect(page.locator("[name=category_id]:checked")).to_have_attribute("value", "")
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    context.close()


def test_next_unlabelled_is_one_without_a_class(page: Page) -> None:
    before = shown(page)
    page.keyboard.press("u")
    expect(page.locator("#annotator")).not_to_have_attribute("image-id", before)
    expect(page.locator("[name=category_id]:checked")).to_have_attribute("value", "")


def test_the_view_zooms_and_pans(page: Page) -> None:
    fitted, at_fit = zoom(page), plane(page)
    page.keyboard.press("+")
    expect(page.locator("[data-part=zoom]")).not_to_have_text(fitted)
    page.keyboard.press("a")
    expect(page.locator("[data-part=zoom]")).to_have_text("100 %")
    page.keyboard.press("f")
    expect(page.locator("[data-part=zoom]")).to_have_text(fitted)
    assert plane(page) == at_fit
    box = page.locator("[data-part=stage]").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    expect(page.locator("[data-part=zoom]")).not_to_have_text(fitted)
    zoomed = plane(page)
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=4)
    page.mouse.up()
    assert plane(page) != zoomed


def test_contrast_follows_a_drag_while_c_is_held(page: Page) -> None:
    contrast = page.locator("[data-part=contrast]")
    picture = page.locator("[data-part=image]")
    plain = picture.evaluate("image => getComputedStyle(image).filter")
    assert contrast.input_value() == "1"
    box = page.locator("[data-part=stage]").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.keyboard.down("c")
    page.mouse.down()
    page.mouse.move(x + 80, y, steps=4)
    page.mouse.up()
    page.keyboard.up("c")
    assert float(contrast.input_value()) > 1
    assert picture.evaluate("image => getComputedStyle(image).filter") != plain


@pytest.mark.parametrize("key", ["z", "x", "l"])
def test_a_tool_is_switched_by_its_key(page: Page, key: str) -> None:
    button = page.locator(f"[data-command][aria-keyshortcuts={key.upper()}]")
    before = button.get_attribute("aria-pressed")
    page.keyboard.press(key)
    expect(button).to_have_attribute("aria-pressed", "false" if before == "true" else "true")
    page.keyboard.press(key)
    expect(button).to_have_attribute("aria-pressed", before)
