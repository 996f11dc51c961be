"""Magic click by a real mouse and keyboard: what is proposed, what Enter saves, and what Esc leaves alone."""

from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.drawing import Drawing, Hand, overlap, pixels, upload_spotted

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FIRST, SECOND = (100, 120, 260, 240), (420, 300, 500, 400)  # left, top, right, lower edge


def proposed(hand: Hand, n_gestures: int) -> None:
    """Wait until so many gestures are answered."""
    hand.page.wait_for_function(
        """n => {
          const { tool } = document.querySelector('#annotator').editor;
          return tool.prompts.length === n && tool.answered === n;
        }""",
        arg=n_gestures,
    )


def test_a_mask_is_proposed_corrected_and_accepted(page: Page, masks: Hand, parts: Drawing) -> None:
    masks.open(upload_spotted(parts.rest, parts.masks_id, [FIRST, SECOND]))
    masks.keyboard.press("2")
    masks.keyboard.press("m")
    expect(page.get_by_role("button", name="Magic")).to_have_attribute("aria-pressed", "true")
    masks.click(180, 180)
    proposed(masks, 1)
    masks.move(600, 40)
    assert masks.colour(200, 200)[3] > 60
    assert masks.colour(450, 350)[3] == 0
    assert masks.shapes() == []  # nothing is saved until it is accepted
    masks.click(460, 350)
    proposed(masks, 2)
    masks.click(180, 180, button="right")
    proposed(masks, 3)
    masks.move(600, 40)
    assert masks.colour(200, 200)[3] == 0
    masks.keyboard.press("Backspace")
    proposed(masks, 2)
    masks.keyboard.press("Enter")
    (shape,) = masks.shapes()
    assert shape["category_id"] == parts.mask_classes["dent"]
    assert overlap(pixels(shape["mask"]), FIRST, SECOND) > 0.85
    assert masks.colour(200, 200)[3] > 60
    masks.keyboard.press("Control+z")
    assert masks.shapes() == []
    masks.drag((120, 140), (180, 180), (240, 220))  # a stroke
    proposed(masks, 1)
    masks.keyboard.press("Escape")
    masks.move(600, 40)
    assert masks.colour(200, 200)[3] == 0
    assert masks.shapes() == []


def test_a_box_is_proposed_around_what_stands_out(boxes: Hand, parts: Drawing) -> None:
    boxes.open(upload_spotted(parts.rest, parts.boxes_id, [FIRST]))
    boxes.keyboard.press("m")
    boxes.keyboard.down("Shift")
    boxes.drag((80, 95), (285, 265))
    boxes.keyboard.up("Shift")
    proposed(boxes, 1)
    boxes.keyboard.press("Enter")
    assert np.allclose(boxes.box(), FIRST, atol=5)


def test_a_real_defect_is_proposed(page: Page, masks: Hand, parts: Drawing, keep: Callable) -> None:
    masks.open(parts.mask_cell_id)
    masks.keyboard.press("m")
    masks.click(150, 108)
    proposed(masks, 1)
    keep(page, "label-magic")
    masks.keyboard.press("Escape")
    assert masks.shapes() == []
