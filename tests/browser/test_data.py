"""The Data screen: a change of many images is taken back where one stands, and a refusal is said where one stands."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.line import Line
from tests.browser.support import MAX_SHIFT, Complaints, axe_violations, forget_shift, settle, shift

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def page(line: Line, at_line: Callable) -> Iterator[Page]:
    context = at_line()
    page = context.new_page()
    complaints = Complaints()
    complaints.listen(page)
    page.goto(f"{line.url}/projects/{line.project_id}/data?sort=name")
    settle(page)
    yield page
    assert [line for line in complaints.taken() if "422" not in line and "409" not in line] == []
    context.close()


def splits_and_tags(line: Line) -> dict[int, tuple[object, object]]:
    images = [line.rest.ask("GET", f"/v1/projects/{line.project_id}/images/{one}") for one in line.image_ids]
    return {image["id"]: (image["split"], sorted(image["tagIds"])) for image in images}


def chooses(page: Page, n: int) -> None:
    page.locator(".tile__link").first.focus()
    page.keyboard.press("Space")
    for _ in range(n - 1):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".selection-bar__count")).to_have_text(f"{n} images selected")


def gives_a_split(page: Page) -> None:
    page.get_by_role("button", name="Split", exact=True).click()
    page.locator("#bulk-split").get_by_role("button", name="Test").click()


def gives_a_tag(page: Page) -> None:
    page.get_by_role("button", name="Tag", exact=True).click()
    page.locator("#bulk-tag input[name=tag]").fill("line 2")
    page.locator("#bulk-tag").get_by_role("button", name="Add").click()


@pytest.mark.parametrize("change", [gives_a_split, gives_a_tag])
@pytest.mark.parametrize("way", ["Ctrl+Z", "Tab"])
def test_a_change_of_many_is_taken_back_by_keys(
    line: Line, page: Page, change: Callable[[Page], None], way: str, keep: Callable[[Page, str], None]
) -> None:
    before = splits_and_tags(line)
    chooses(page, 6)
    places = page.locator(".tile").evaluate_all("all => all.map(tile => tile.getBoundingClientRect().top)")
    change(page)
    undo = page.locator("#toasts").get_by_role("button", name="Undo")
    expect(undo).to_be_visible()
    expect(page.locator(".selection-bar")).to_be_hidden()
    settle(page)
    assert splits_and_tags(line) != before
    assert axe_violations(page) == []
    if (change, way) == (gives_a_split, "Tab"):
        keep(page, "data-undo")
    forget_shift(page)
    if way == "Tab":
        undo.focus()
        page.keyboard.press("Enter")
    else:
        page.keyboard.press("Control+z")
    expect(undo).to_have_count(0)
    expect(page.locator("#toasts")).to_contain_text("as before")
    settle(page)
    assert splits_and_tags(line) == before
    assert shift(page)[0] <= MAX_SHIFT
    assert page.locator(".tile").evaluate_all("all => all.map(tile => tile.getBoundingClientRect().top)") == places
    if way == "Tab":
        expect(page.locator("#results")).to_be_focused()


def test_undo_waits_as_long_as_one_reads_it(page: Page) -> None:
    chooses(page, 2)
    gives_a_split(page)
    undo = page.locator("#toasts").get_by_role("button", name="Undo")
    undo.focus()
    page.wait_for_timeout(500)
    page.keyboard.press("Tab")
    expect(page.locator("#toasts").get_by_role("button", name="Dismiss")).to_be_focused()
    page.keyboard.press("Control+z")
    expect(page.locator("#toasts")).to_contain_text("as before")


def test_what_was_undone_already_is_said_without_losing_the_page(page: Page) -> None:
    chooses(page, 2)
    gives_a_split(page)
    undo = page.locator("#toasts .toast__form")
    expect(undo).to_be_visible()
    answer = page.evaluate(
        """async () => {
          const form = document.querySelector('#toasts .toast__form');
          const headers = {'HX-Request': 'true', 'HX-Request-Type': 'partial'};
          const body = new URLSearchParams(new FormData(form));
          return (await fetch(form.action, {method: 'POST', body, headers})).status;
        }"""
    )
    assert answer == 200
    undo.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("alert").filter(has_text="undone already")).to_be_visible()
    expect(page.locator(".tile").first).to_be_visible()


def test_a_form_without_a_place_for_what_is_wrong_says_it_in_a_message(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/data?image={line.image_ids[0]}")
    settle(page)
    page.evaluate("() => document.querySelector('#detail .detail__foot [name=image_id]').remove()")
    page.get_by_role("article").get_by_role("button", name="Delete").click()
    expect(page.locator("#toasts").get_by_role("alert")).to_contain_text("Select some images first.")
    expect(page.locator(".tile").first).to_be_visible()


def test_a_form_with_a_place_for_it_says_it_there(line: Line, page: Page) -> None:
    page.goto(f"{line.url}/projects/{line.project_id}/label?image={line.image_ids[0]}")
    settle(page)
    page.locator("#label-add input").evaluate(
        "input => { input.removeAttribute('maxlength'); input.value = 'x'.repeat(10001); }"
    )
    page.get_by_role("button", name="Add the class").click()
    expect(page.locator("#label-add .form__errors")).to_contain_text("10000")
    expect(page.locator("#annotator")).to_be_visible()
    page.goto(f"{line.url}/projects/{line.project_id}/deploy/{line.deployment_id}")
    settle(page)
    page.get_by_label("Name of a new key").evaluate(
        "input => { input.removeAttribute('maxlength'); input.value = 'x'.repeat(300); }"
    )
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator("#call .form__errors")).to_be_visible()
    expect(page.locator("#endpoint-url")).to_be_visible()
