"""Magic click by a real mouse and keyboard: what is proposed, what Enter saves, and what Esc leaves alone."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.drawing import Drawing, Hand, drawers_page, pixels, upload_spotted
from tests.browser.support import Complaints

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FIRST, SECOND = (100, 120, 260, 240), (420, 300, 500, 400)  # left, top, right, lower edge


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(inside: Callable, complaints: Complaints) -> Iterator[Page]:
    with drawers_page(inside, complaints) as opened:
        yield opened


def proposed(hand: Hand, n_gestures: int) -> None:
    """Wait until so many gestures are answered."""
    hand.page.wait_for_function(
        """n => {
          const { tool } = document.querySelector('#annotator').editor;
          return tool.prompts.length === n && tool.answered === n;
        }""",
        arg=n_gestures,
    )


def overlap(found: np.ndarray, *spots: tuple[int, int, int, int]) -> float:
    true = np.zeros_like(found)
    for left, top, right, bottom in spots:
        true[top:bottom, left:right] = True
    return (found & true).sum() / (found | true).sum()


def test_a_mask_is_proposed_corrected_and_accepted(page: Page, parts: Drawing) -> None:
    hand = Hand(page, parts.url, parts.masks_id)
    hand.open(upload_spotted(parts.rest, parts.masks_id, [FIRST, SECOND]))
    hand.keyboard.press("2")
    hand.keyboard.press("m")
    expect(page.get_by_role("button", name="Magic")).to_have_attribute("aria-pressed", "true")
    hand.click(180, 180)
    proposed(hand, 1)
    hand.move(600, 40)
    assert hand.colour(200, 200)[3] > 60
    assert hand.colour(450, 350)[3] == 0
    assert hand.shapes() == []  # nothing is saved until it is accepted
    hand.click(460, 350)
    proposed(hand, 2)
    hand.click(180, 180, button="right")
    proposed(hand, 3)
    hand.move(600, 40)
    assert hand.colour(200, 200)[3] == 0
    hand.keyboard.press("Backspace")
    proposed(hand, 2)
    hand.keyboard.press("Enter")
    (shape,) = hand.shapes()
    assert shape["category_id"] == parts.mask_classes["dent"]
    assert overlap(pixels(shape["mask"]), FIRST, SECOND) > 0.85
    assert hand.colour(200, 200)[3] > 60
    hand.keyboard.press("Control+z")
    assert hand.shapes() == []
    hand.drag((120, 140), (180, 180), (240, 220))  # a stroke
    proposed(hand, 1)
    hand.keyboard.press("Escape")
    hand.move(600, 40)
    assert hand.colour(200, 200)[3] == 0
    assert hand.shapes() == []


def test_a_box_is_proposed_around_what_stands_out(page: Page, parts: Drawing) -> None:
    hand = Hand(page, parts.url, parts.boxes_id)
    hand.open(upload_spotted(parts.rest, parts.boxes_id, [FIRST]))
    hand.keyboard.press("m")
    hand.keyboard.down("Shift")
    hand.drag((80, 95), (285, 265))
    hand.keyboard.up("Shift")
    proposed(hand, 1)
    hand.keyboard.press("Enter")
    assert np.allclose(hand.box(), FIRST, atol=5)


def test_a_real_defect_is_proposed(page: Page, parts: Drawing, keep: Callable) -> None:
    hand = Hand(page, parts.url, parts.masks_id)
    hand.open(parts.mask_cell_id)
    hand.keyboard.press("m")
    hand.click(150, 108)
    proposed(hand, 1)
    keep(page, "label-magic")
    hand.keyboard.press("Escape")
    assert hand.shapes() == []
