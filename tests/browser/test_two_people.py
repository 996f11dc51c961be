"""Nothing is lost: two people at one image, and a server that goes away in the middle."""

import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.line import Line
from tests.browser.support import axe_violations, settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def opened(at_line: Callable[..., BrowserContext], line: Line, image_id: int) -> Page:
    """Return the Label screen of an image without a class, in a browser of its own."""
    line.rest.ask("PUT", f"/v1/projects/{line.project_id}/images/{image_id}/label", json={"classId": None})
    page = at_line().new_page()
    page.goto(f"{line.url}/projects/{line.project_id}/label?image={image_id}")
    settle(page)
    return page


def row(page: Page, name: str) -> object:
    return page.locator(".classes__row", has=page.locator(".classes__name", has_text=name)).get_by_role("radio")


def stored(line: Line, image_id: int) -> str | None:
    return line.rest.ask("GET", f"/v1/projects/{line.project_id}/images/{image_id}")["className"]


@pytest.mark.parametrize(("answer", "kept"), [("Keep mine", "defective"), ("Take theirs", "functional")])
def test_two_people_at_one_image_settle_it_between_them(
    line: Line, at_line: Callable[..., BrowserContext], keep: Callable[[Page, str], None], answer: str, kept: str
) -> None:
    image_id = line.unlabelled_ids[0 if answer == "Keep mine" else 1]
    first, second = opened(at_line, line, image_id), opened(at_line, line, image_id)
    row(first, "functional").check()
    expect(first.locator("[data-part=saved]")).to_have_text("Saved")
    row(second, "defective").check()
    expect(second.locator("[data-part=saved]")).to_have_text("Not saved: changed elsewhere")
    offer = second.locator("#label-conflict")
    expect(offer).to_contain_text("changed this image meanwhile")
    expect(offer).to_contain_text("functional")
    assert stored(line, image_id) == "functional", "the second overwrote the first unasked"
    assert axe_violations(second) == []
    if answer == "Keep mine":
        keep(second, "label-conflict")
    address = second.url
    second.keyboard.press("ArrowRight")
    assert second.url == address, "one walked away from what is not settled"
    offer.get_by_role("button", name=answer).click()
    expect(offer).to_be_empty()
    expect(row(second, kept)).to_be_checked()
    expect(second.locator("[data-part=saved]")).to_have_text("Saved" if answer == "Keep mine" else "Theirs kept")
    assert stored(line, image_id) == kept
    second.keyboard.press("0")  # what comes after goes through: the version is known again
    expect(second.locator("[data-part=saved]")).to_have_text("Saved")
    assert stored(line, image_id) is None
    first.context.close()
    second.context.close()


def test_a_label_given_while_the_server_is_away_is_said_and_saved_later(
    line: Line, at_line: Callable[..., BrowserContext]
) -> None:
    image_id = line.unlabelled_ids[2]
    page = opened(at_line, line, image_id)
    page.route("**/label**", lambda route: route.abort("connectionrefused") if is_post(route) else route.continue_())
    row(page, "defective").check()
    expect(page.locator("[data-part=saved]")).to_have_text("Not saved")
    assert stored(line, image_id) is None
    address = page.url
    page.keyboard.press("ArrowRight")  # tries once more, and stays
    expect(page.locator("[data-part=saved]")).to_have_text("Not saved")
    assert page.url == address
    page.unroute("**/label**")
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(address)
    assert stored(line, image_id) == "defective"
    page.go_back()
    expect(row(page, "defective")).to_be_checked()
    page.keyboard.press("0")
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    page.context.close()


def is_post(route: object) -> bool:
    return route.request.method == "POST"


def test_a_server_that_stands_still_for_a_moment_loses_nothing(
    line: Line, at_line: Callable[..., BrowserContext]
) -> None:
    image_id = line.unlabelled_ids[3]
    page = opened(at_line, line, image_id)
    web = line.kizu.process("app.cli", "web")
    web.send_signal(signal.SIGSTOP)
    try:
        row(page, "functional").check()
        expect(page.locator("[data-part=saved]")).to_have_text("Saving…")
        row(page, "defective").check()  # changed one's mind before the first answer
    finally:
        web.send_signal(signal.SIGCONT)
    expect(page.locator("[data-part=saved]")).to_have_text("Saved", timeout=15_000)
    assert stored(line, image_id) == "defective"
    page.keyboard.press("0")
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    page.context.close()
