"""Everything by keys alone; what needs no script without one."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.line import Line
from tests.browser.pages import PAGES
from tests.browser.support import new_context, settle, sign_in, solar_cells

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# What Tab must reach: all that can be acted on and is there to be seen. Of a group of radio buttons, a list of tabs
# and a grid of images, Tab reaches one member; arrows reach the others.
REACHABLE = """() => {
  window.__groupOf = element => element.type === 'radio'
    ? 'radio ' + element.name + ' ' + [...document.forms].indexOf(element.form)
    : element.closest('[role=tablist]') ? 'tabs ' + element.closest('[role=tablist]').ariaLabel
    : element.closest('image-grid .tile') ? 'grid' : null;
  window.__drawn = element => [element, element.closest('label'), element.parentElement, element.nextElementSibling]
    .filter(Boolean).flatMap(part => [null, '::before', '::after'].map(pseudo => {
      const style = getComputedStyle(part, pseudo);
      const hasOutline = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
      return [hasOutline ? style.outlineColor : '', style.boxShadow, style.borderColor, style.backgroundColor].join();
    })).join('|');
  window.__rest = new Map();
  document.activeElement?.blur();
  getSelection().removeAllRanges();
  const seen = element => element.checkVisibility({visibilityProperty: true}) && !element.closest('[inert]');
  const names = new Set();
  for (const element of document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')) {
    if (element.disabled || element.closest('fieldset:disabled') || element.type === 'hidden') continue;
    if (!seen(element) || element.matches('main, dialog')) continue;
    const group = window.__groupOf(element);
    if (element.tabIndex < 0 && group === null) continue;
    window.__rest.set(element, window.__drawn(element));
    if (group !== null && names.has(group)) continue;
    element.dataset.mustReach = group ?? element.outerHTML.slice(0, 120);
    names.add(element.dataset.mustReach);
  }
  return [...names];
}"""
# What has the focus, and whether that is drawn otherwise than at rest: the element, what is drawn with it, or what
# stands for it where the element itself is hidden (a switch, a file field in a button).
FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const box = (element.closest('.card') ?? element).getBoundingClientRect(); // a card shows it for its link
  return {name: element.dataset.mustReach ?? window.__groupOf(element) ?? element.outerHTML.slice(0, 120),
    isShown: window.__drawn(element) !== window.__rest.get(element),
    clip: {x: box.x - 6, y: box.y - 6, width: box.width + 12, height: box.height + 12}};
}"""


@pytest.fixture(scope="module")
def page(at_line: Callable[..., BrowserContext]) -> Iterator[Page]:
    context = at_line()
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_tab_reaches_everything_and_shows_where_it_is(line: Line, page: Page, name: str) -> None:
    page.goto(line.url + PAGES[name](line))
    settle(page)
    wanted = set(page.evaluate(REACHABLE))
    assert wanted
    reached: set[str] = set()
    unseen: list[str] = []
    for _ in range(2 * len(wanted) + 40):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused and focused["name"] not in reached:
            reached.add(focused["name"])
            if not focused["isShown"] and not is_drawn_otherwise(page, focused["clip"]):
                unseen.append(focused["name"])
        if wanted <= reached:
            break
    assert not wanted - reached, f"Tab does not reach {sorted(wanted - reached)}"
    assert not unseen, f"the focus cannot be seen on {unseen}"


def is_drawn_otherwise(page: Page, clip: dict[str, float]) -> bool:
    """Return whether what has the focus looks otherwise without it: a slider's knob has no style to ask for."""
    page.evaluate("() => { window.__focused = document.activeElement; }")
    with_focus = page.screenshot(clip=clip, animations="disabled")
    page.evaluate("() => window.__focused.blur()")
    without = page.screenshot(clip=clip, animations="disabled")
    page.evaluate("() => window.__focused.focus({preventScroll: true})")
    return with_focus != without


def test_the_skip_link_leads_past_the_frame(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/models")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('main') !== null")


def test_the_palette_goes_anywhere_and_gives_the_focus_back(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/data")
    settle(page)
    page.locator("#find-sort").focus()
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Go to a page, or find images")
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    expect(field).to_be_hidden()
    expect(page.locator("#find-sort")).to_be_focused()
    page.keyboard.press("Control+k")
    page.keyboard.type("mod")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models")
    settle(page)
    page.keyboard.press("Control+k")
    page.keyboard.type("cell00")
    page.keyboard.press("Enter")
    page.wait_for_url("**/data?q=cell00")


def test_letters_lead_from_section_to_section(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/data")
    for letter, place in (("t", "train"), ("m", "models"), ("y", "deploy"), ("o", "monitor"), ("d", "data")):
        settle(page)
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_url(f"**/{place}")


@pytest.mark.parametrize(
    ("address", "opener", "opened"),
    [
        ("data", "button:has-text('Classes')", "#classes"),
        ("data", "button:has-text('Auto split')", "#auto-split"),
        ("data", "button[data-opens=upload]", "#upload"),
        ("data", "button.person", "#person-menu"),
        ("data", "button.bar__project", "#project-menu"),
        ("deploy/{deployment}", "button[data-opens=change]", "#change"),
        ("label?image={image}", "button[data-command=help]", "#keys-help"),
        ("label?image={image}", "button[popovertarget=tone]", "#tone"),
    ],
)
def test_what_opens_closes_with_escape_and_gives_the_focus_back(
    line: Line, page: Page, address: str, opener: str, opened: str
) -> None:
    words = {"deployment": line.deployment_id, "image": line.image_ids[0]}
    page.goto(f"{line.url}/projects/{line.project_id}/{address.format(**words)}")
    settle(page)
    page.locator(opener).focus()
    page.keyboard.press("Enter")
    expect(page.locator(opened)).to_be_visible()
    is_inside = "selector => document.activeElement.closest(selector) !== null"
    if not page.evaluate(is_inside, opened):
        page.keyboard.press("Tab")  # a menu leaves the focus on its button until one goes in
    assert page.evaluate(is_inside, opened)
    page.keyboard.press("Escape")
    expect(page.locator(opened)).to_be_hidden()
    expect(page.locator(opener)).to_be_focused()


def test_a_question_before_what_cannot_be_undone_is_answered_by_keys(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/settings")
    settle(page)
    button = page.get_by_role("button", name="Delete project")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#confirm")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#confirm")).to_be_hidden()
    expect(button).to_be_focused()
    assert line.rest.ask("GET", f"/v1/projects/{line.project_id}")["name"]


def test_images_are_chosen_opened_and_let_go_by_keys(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/data?sort=name")
    settle(page)
    page.locator(".tile__link").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".selection-bar__count")).to_have_text("3 images selected")
    assert page.locator(".tile__pick input:checked").count() == 3
    page.keyboard.press("Escape")
    expect(page.locator(".selection-bar")).to_be_hidden()
    page.keyboard.press("Enter")
    page.wait_for_url("**/label?**")


def test_the_threshold_moves_by_keys(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/models/{line.model_ids[0]}")
    settle(page)
    before = page.locator("#figures").inner_text()
    page.locator("#threshold").focus()
    page.keyboard.press("Home")
    expect(page).to_have_url(re.compile(r"threshold=0\b"))
    expect(page.locator("#figures")).not_to_have_text(before)
    expect(page.locator("#threshold")).to_be_focused()


def test_train_is_pressed_and_stopped_by_keys(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/train")
    settle(page)
    page.get_by_role("button", name="Train", exact=True).focus()
    page.keyboard.press("Enter")
    stop = page.get_by_role("button", name="Stop")
    stop.focus()
    page.keyboard.press("Enter")
    expect(stop).to_be_hidden(timeout=60_000)


def test_the_way_in_needs_no_script(
    line: Line, chromium: Browser, keep: Callable[[Page, str], None], tmp_path: Path
) -> None:
    context = new_context(chromium, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, line.url)
    page.goto(f"{line.url}/projects/new")
    page.get_by_label("Name").fill("Without a script")
    page.get_by_role("button", name="Create project").click()
    page.wait_for_url("**/data")
    page.locator("input[name=files]").set_input_files(solar_cells(0.0, 3, skip=60))
    page.get_by_role("button", name="Upload").click()
    page.goto(re.sub(r"/data.*|/images.*", "/data", page.url))
    expect(page.locator(".tile")).to_have_count(3)
    page.goto(page.url.replace("/data", "/label"))
    page.get_by_label("Name of a new class").fill("good")
    page.get_by_role("button", name="Add the class").click()
    page.get_by_role("radio", name="good").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("radio", name="good")).to_be_checked()
    expect(page.locator("#label-progress")).to_contain_text("1 of 3 labelled")
    page.goto(f"{line.url}/projects/{line.project_id}/models/{line.model_ids[0]}")
    expect(page.locator(".report__f1")).to_contain_text(re.compile(r"\d\.\d\d"))
    expect(page.locator(".confusion__link").first).to_be_visible()
    context.close()
