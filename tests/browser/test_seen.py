"""What lies over an image in the editor, by its pixels: labels hidden and shown, and compared with the prediction."""

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from app.contracts.predictions import PredictedShape
from app.contracts.shapes import Box
from app.inference.rasters import encode_mask
from tests.browser.drawing import SIZE, Drawing, Hand, Spot, leave_prediction

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FOUND: tuple[Spot, Spot] = (100, 100, 220, 200), (400, 280, 520, 400)


def predicted(spot: Spot, category_index: int, score: float) -> PredictedShape:
    left, top, right, bottom = spot
    marked = np.zeros(SIZE[::-1], bool)
    marked[top:bottom, left:right] = True
    box = Box(xmin=left, ymin=top, xmax=right, ymax=bottom)
    return PredictedShape(category_index=category_index, score=score, box=box, mask=encode_mask(marked))


def along(hand: Hand, spot: Spot) -> np.ndarray:
    """Return (N, 4) the colours along the upper edge of a spot."""
    left, top, right, _ = spot
    return np.array(hand.colours([(x, top) for x in range(left + 30, right - 4, 3)]))


def is_class(colours: np.ndarray, hue: tuple[int, int, int]) -> np.ndarray:
    return np.abs(colours[:, :3].astype(int) - hue).max(axis=1) < 40


def test_a_label_is_hidden_and_shown_with_what_marks_it_as_selected(page: Page, masks: Hand, parts: Drawing) -> None:
    masks.open(parts.mask_images[7])
    masks.drag((100, 100), (300, 100))
    masks.move(600, 460)
    drawn = masks.colour(200, 100)
    assert drawn[3] > 60
    button = page.get_by_role("button", name="Hide the labels")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    masks.move(600, 460)
    assert not np.any(masks.colours([(200, 100), (100, 100), (200, 89), (200, 111)]))
    masks.keyboard.press("h")
    expect(button).to_have_attribute("aria-pressed", "false")
    assert masks.colour(200, 100) == drawn
    assert len(masks.shapes()) == 1


def test_labels_are_compared_with_the_prediction(page: Page, masks: Hand, parts: Drawing) -> None:
    image_id = parts.mask_images[8]
    shapes = [predicted(spot, index, 0.9 - index / 10) for index, spot in enumerate(FOUND)]
    leave_prediction(parts, parts.masks_id, image_id, parts.mask_classes, shapes)
    masks.open(image_id)
    expect(page.locator("[data-part=drafts]")).to_have_text("2 of 2")
    masks.keyboard.press("2")
    masks.drag((150, 300), (250, 300))
    masks.keyboard.press("Escape")
    masks.move(600, 40)
    for spot, hue in zip(FOUND, ((0, 114, 178), (230, 159, 0)), strict=True):
        ours = is_class(along(masks, spot), hue)
        assert 0.3 < ours.mean() < 0.9  # dashes of its class
        left, top, right, bottom = spot
        assert masks.colour((left + right) / 2, (top + bottom) / 2)[3] == 0  # what is inside stays seen
    label = masks.colour(200, 300)
    assert label[3] > 60

    prediction = page.get_by_role("button", name="Prediction")
    prediction.click()
    expect(prediction).to_have_attribute("aria-pressed", "false")
    masks.move(600, 40)
    assert along(masks, FOUND[0])[:, 3].max() == 0
    assert masks.colour(200, 300) == label  # the label alone
    masks.keyboard.press("p")
    expect(prediction).to_have_attribute("aria-pressed", "true")
    assert along(masks, FOUND[0])[:, 3].max() > 60
    page.get_by_label("Show scratch").click()  # one class less, of both
    masks.move(600, 40)
    assert along(masks, FOUND[0])[:, 3].max() == 0
    assert along(masks, FOUND[1])[:, 3].max() > 60
    masks.keyboard.press("h")
    assert along(masks, FOUND[1])[:, 3].max() == 0
    assert masks.colour(200, 300)[3] == 0
    assert [one["category_id"] for one in masks.shapes()] == [parts.mask_classes["dent"]]
