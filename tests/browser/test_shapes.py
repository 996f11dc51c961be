"""The editor of boxes, polygons and masks, by a real mouse and keyboard: what was saved, and what is on the screen."""

from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from app.contracts.predictions import PredictedShape
from app.contracts.shapes import Box
from tests.browser.drawing import SIZE, Drawing, Hand, leave_prediction, pixels
from tests.browser.support import MAX_SHIFT, Complaints, axe_violations, overflow_px, shift

pytestmark = [pytest.mark.browser, pytest.mark.slow]


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_a_box_is_drawn_moved_resized_classed_and_deleted(boxes: Hand, parts: Drawing) -> None:
    boxes.open(parts.box_images[0])
    boxes.drag((100, 120), (260, 300))
    assert boxes.box() == [100, 120, 260, 300]
    assert boxes.shapes()[0]["category_id"] == parts.box_classes["scratch"]
    boxes.drag((180, 200), (220, 230))
    assert boxes.box() == [140, 150, 300, 330]
    # its eight handles, each drawn by (+8, +6)
    for x, y in ((140, 240), (300, 240), (228, 150), (228, 330)):
        boxes.drag((x, y), (x + 8, y + 6))
    assert boxes.box() == [148, 156, 308, 336]
    for x, y in ((148, 156), (308, 156), (308, 336), (148, 336)):
        boxes.drag((x, y), (x + 8, y + 6))
        box = boxes.box()
        boxes.keyboard.press("Control+z")
        assert boxes.box() == [148, 156, 308, 336]
        assert sum(a != b for a, b in zip(box, [148, 156, 308, 336], strict=True)) == 2
    boxes.keyboard.press("2")
    assert boxes.shapes()[0]["category_id"] == parts.box_classes["dent"]
    boxes.keyboard.press("Delete")
    assert boxes.shapes() == []


def test_a_box_is_on_the_screen_where_it_is_saved(boxes: Hand, parts: Drawing) -> None:
    boxes.open(parts.box_images[1])
    boxes.drag((100, 100), (300, 260))
    boxes.keyboard.press("Escape")
    boxes.move(600, 460)
    red, green, blue, opacity = boxes.colour(100, 180)
    assert opacity > 200
    assert (red, green, blue) != (0, 0, 0)
    assert 0 < boxes.colour(200, 180)[3] < 120  # inside, the image is seen
    assert boxes.colour(400, 180)[3] == 0
    boxes.keyboard.press("h")
    assert boxes.colour(100, 180)[3] == 0
    boxes.keyboard.press("h")
    assert boxes.colour(100, 180)[3] > 200


def test_a_box_is_made_moved_and_resized_by_keys_alone(boxes: Hand, parts: Drawing) -> None:
    boxes.open(parts.box_images[2])
    boxes.page.locator("[data-part=stage]").focus()
    boxes.keyboard.press("Enter")
    xmin, ymin, xmax, ymax = boxes.box()
    assert abs((xmin + xmax) / 2 - SIZE[0] / 2) <= 1
    assert abs((ymin + ymax) / 2 - SIZE[1] / 2) <= 1
    for key in ("ArrowLeft", "Shift+ArrowUp", "Alt+ArrowRight", "Alt+Shift+ArrowDown"):
        boxes.keyboard.press(key)
    assert boxes.box() == [xmin - 1, ymin - 10, xmax, ymax]
    announced = boxes.page.locator("[data-part=announced]")
    expect(announced).to_have_text(
        f"scratch, 1 of 1, at {xmin - 1:g}, {ymin - 10:g}, {xmax - xmin + 1:g} × {ymax - ymin + 10:g} px"
    )
    field = boxes.page.get_by_label("Left edge, px")
    field.fill("20")
    field.press("Tab")
    assert boxes.box()[0] == 20
    boxes.page.locator("[data-part=stage]").focus()
    boxes.keyboard.press("Escape")
    boxes.keyboard.press(".")
    boxes.keyboard.press("Delete")
    assert boxes.shapes() == []


def test_a_box_cannot_leave_the_image(boxes: Hand, parts: Drawing) -> None:
    boxes.open(parts.box_images[3])
    boxes.drag((500, 400), (700, 700))
    assert boxes.box() == [500, 400, *SIZE]
    for _ in range(3):
        boxes.keyboard.press("Shift+ArrowRight")
    assert boxes.box() == [500, 400, *SIZE]


def test_undo_and_redo_have_no_end_and_outlive_a_walk(boxes: Hand, parts: Drawing) -> None:
    boxes.open(parts.box_images[4])
    for i in range(12):
        boxes.drag((20 + 50 * i, 20), (60 + 50 * i, 80))
        boxes.keyboard.press("Escape")
    assert len(boxes.shapes()) == 12
    address = boxes.page.url
    boxes.keyboard.press("ArrowRight")
    expect(boxes.page.locator("#annotator")).to_have_attribute("image-id", str(parts.box_images[5]))
    boxes.keyboard.press("ArrowLeft")
    expect(boxes.page).to_have_url(address)
    expect(boxes.page.locator("#annotator")).to_have_attribute("image-id", str(parts.box_images[4]))
    boxes.ready()
    for _ in range(13):
        boxes.keyboard.press("Control+z")
    assert boxes.shapes() == []
    for _ in range(12):
        boxes.keyboard.press("Control+Shift+z")
    assert len(boxes.shapes()) == 12


def test_labels_are_copied_to_the_next_image(boxes: Hand, parts: Drawing) -> None:
    boxes.open(parts.box_images[6])
    boxes.drag((100, 120), (260, 300))
    boxes.keyboard.press("d")
    expect(boxes.page.locator("#annotator")).to_have_attribute("image-id", str(parts.box_images[7]))
    boxes.ready()
    assert boxes.box() == [100, 120, 260, 300]
    boxes.keyboard.press("Control+z")
    assert boxes.shapes() == []


def test_nothing_to_label_is_a_label(boxes: Hand, parts: Drawing) -> None:
    boxes.open(parts.box_images[8])
    done = boxes.page.locator("#label-progress .num")
    before = int(done.inner_text().split()[0])
    boxes.keyboard.press("0")
    assert boxes.saved()["nothing_to_label"]
    expect(done).to_contain_text(f"{before + 1} of")
    boxes.drag((100, 120), (260, 300))
    assert not boxes.saved()["nothing_to_label"]
    boxes.keyboard.press("0")
    expect(boxes.page.locator("[data-part=note]")).to_have_text("There are labels: delete them first")
    boxes.keyboard.press("Control+z")
    assert boxes.saved()["nothing_to_label"]
    boxes.keyboard.press("0")
    assert not boxes.saved()["nothing_to_label"]


def test_two_people_at_one_image_overwrite_nothing(boxes: Hand, parts: Drawing, complaints: Complaints) -> None:
    image_id = parts.box_images[9]
    boxes.open(image_id)
    boxes.page.evaluate(
        """async ([category_id]) => {
          const href = document.querySelector('#annotator').getAttribute('shapes-href');
          const theirs = [{category_id, box: {xmin: 1, ymin: 2, xmax: 30, ymax: 40}}];
          const body = JSON.stringify({version: 0, shapes: theirs, nothing_to_label: false});
          await fetch(href, {method: 'PUT', body, headers: {'Content-Type': 'application/json'}});
        }""",
        [parts.box_classes["dent"]],
    )
    boxes.drag((100, 120), (260, 300))
    conflict = boxes.page.locator("#label-conflict")
    expect(conflict).to_contain_text("changed this image meanwhile")
    assert boxes.box() == [1, 2, 30, 40]
    boxes.page.locator("[data-conflict=mine]").click()
    expect(boxes.page.locator("[data-part=saved]")).to_have_text("Saved")
    assert boxes.box() == [100, 120, 260, 300]
    assert all("409" in line for line in complaints.taken())  # that is how the editor learned of it


# --- polygons and masks -----------------------------------------------------------------------------------------------


def test_a_polygon_gets_vertices_and_a_hole(masks: Hand, parts: Drawing) -> None:
    masks.open(parts.mask_images[0])
    masks.keyboard.press("o")
    for point in ((100, 100), (300, 100), (300, 300), (90, 310)):
        masks.click(*point)
    masks.keyboard.press("Backspace")
    masks.click(100, 300)
    masks.keyboard.press("Enter")
    (shape,) = masks.shapes()
    (ring,) = shape["polygon"]["rings"]
    assert np.allclose(ring, [100, 100, 300, 100, 300, 300, 100, 300], atol=1)
    masks.drag((300, 300), (340, 330))  # a vertex
    masks.drag((200, 100), (200, 60))  # an edge: a new vertex
    (ring,) = masks.shapes()[0]["polygon"]["rings"]
    assert np.allclose(ring, [100, 100, 200, 60, 300, 100, 340, 330, 100, 300], atol=1.5)
    masks.keyboard.down("Alt")
    masks.click(ring[2], ring[3])
    masks.keyboard.up("Alt")
    assert len(masks.shapes()[0]["polygon"]["rings"][0]) == 8
    for point in ((150, 150), (200, 150), (200, 200), (150, 150)):  # closed on its first point
        masks.click(*point)
    assert len(masks.shapes()[0]["polygon"]["rings"]) == 2
    masks.move(500, 450)
    assert masks.colour(185, 165)[3] == 0
    assert masks.colour(250, 250)[3] > 60


def test_a_mask_is_painted_erased_and_filled(masks: Hand, parts: Drawing) -> None:
    masks.open(parts.mask_images[1])
    masks.keyboard.press("3")
    masks.drag((100, 100), (300, 100), (300, 300), (100, 300), (100, 100), steps=20)
    (shape,) = masks.shapes()
    assert shape["category_id"] == parts.mask_classes["stain"]
    ring = pixels(shape["mask"])
    assert ring[100, 200]
    assert ring[200, 300]
    assert not ring[200, 200]
    assert masks.colour(200, 200)[3] == 0
    masks.keyboard.press("k")
    masks.click(200, 200)
    full = pixels(masks.shapes()[0]["mask"])
    assert full[200, 200]
    assert full.sum() > ring.sum() + 30_000
    assert (full | ring).sum() == full.sum()
    masks.keyboard.press("e")
    masks.drag((60, 200), (340, 200), steps=20)
    cut = pixels(masks.shapes()[0]["mask"])
    assert not cut[200, 100:300].any()
    assert cut[150, 200]
    assert cut[250, 200]
    assert abs((full.sum() - cut.sum()) - 24 * 224) < 24 * 24  # the eraser is 24 px wide
    masks.move(500, 450)
    assert masks.colour(200, 200)[3] == 0
    assert masks.colour(200, 150)[3] > 60
    for _ in range(3):
        masks.keyboard.press("Control+z")
    assert masks.shapes() == []


def test_the_brush_has_sizes_and_begins_a_new_mask_after_escape(masks: Hand, parts: Drawing) -> None:
    masks.open(parts.mask_images[2])
    for _ in range(3):
        masks.keyboard.press("]")
    expect(masks.page.locator("[data-shows=brushPx]")).to_have_text("48 px")
    masks.drag((100, 100), (200, 100))
    masks.drag((100, 200), (200, 200))
    assert len(masks.shapes()) == 1
    masks.keyboard.press("Escape")
    masks.keyboard.press("2")
    masks.drag((400, 100), (500, 100))
    first, second = masks.shapes()
    assert first["category_id"] == parts.mask_classes["scratch"]
    assert second["category_id"] == parts.mask_classes["dent"]
    assert pixels(second["mask"])[:, 450].sum() == 48
    eye = masks.page.get_by_label("Show scratch")
    eye.click()
    masks.move(600, 460)
    assert masks.colour(150, 100)[3] == 0
    assert masks.colour(450, 100)[3] > 60
    eye.click()
    assert masks.colour(150, 100)[3] > 60


def test_the_eraser_takes_from_all_that_it_meets(masks: Hand, parts: Drawing) -> None:
    masks.open(parts.mask_images[3])
    masks.drag((100, 100), (200, 100))
    masks.keyboard.press("Escape")
    masks.drag((300, 100), (400, 100))
    masks.keyboard.press("Escape")
    masks.keyboard.press("e")
    masks.drag((50, 100), (260, 100))
    (left,) = masks.shapes()
    assert pixels(left["mask"])[100, 350]


# --- both -------------------------------------------------------------------------------------------------------------


def test_labels_stay_on_their_pixels_when_one_zooms_and_pans(masks: Hand, parts: Drawing) -> None:
    masks.open(parts.mask_images[4])
    masks.drag((100, 100), (200, 100))
    masks.keyboard.press("Escape")
    x, y = (round(place) for place in masks.at(150, 100))
    pointed = masks.under(x, y)
    masks.page.mouse.move(x, y)
    masks.page.mouse.wheel(0, -1800)
    masks.page.wait_for_timeout(200)
    assert np.allclose(masks.under(x, y), pointed, atol=0.01)
    assert masks.colour(150, 100)[3] > 60
    assert masks.colour(150, 113)[3] == 0
    expect(masks.page.locator("[data-part=grid]")).to_be_visible()
    masks.keyboard.down("Space")
    masks.page.mouse.down()
    masks.page.mouse.move(x + 60, y + 20, steps=4)
    masks.page.mouse.up()
    masks.keyboard.up("Space")
    assert np.allclose(masks.under(x + 60, y + 20), pointed, atol=0.01)
    masks.page.wait_for_timeout(200)
    assert masks.colour(150, 100)[3] > 60
    assert len(masks.shapes()) == 1


def test_what_a_model_found_is_shown_dashed_and_taken_over(boxes: Hand, parts: Drawing, keep: Callable) -> None:
    places = ((20, 30, 90, 100, 0.93), (120, 40, 200, 110, 0.71), (40, 180, 130, 260, 0.44))
    found = [
        PredictedShape(category_index=i % 2, score=score, box=Box(xmin=x1, ymin=y1, xmax=x2, ymax=y2))
        for i, (x1, y1, x2, y2, score) in enumerate(places)
    ]
    leave_prediction(parts, parts.boxes_id, parts.box_cell_id, parts.box_classes, found)
    boxes.open(parts.box_cell_id)
    counted = boxes.page.locator("[data-part=drafts]")
    expect(counted).to_have_text("2 of 3")  # from the model's own threshold on
    keep(boxes.page, "label-drafts")
    boxes.drag((22, 31), (92, 103))  # the first, by hand
    boxes.keyboard.press("Escape")
    boxes.move(160, 80)
    boxes.keyboard.press("y")
    assert [shape["box"]["xmin"] for shape in boxes.shapes()] == [22, 120]
    assert boxes.shapes()[1]["category_id"] == parts.box_classes["dent"]
    accept_all = boxes.page.get_by_role("button", name="Accept all")
    expect(accept_all).to_be_disabled()  # each has its label
    score = boxes.page.locator("[data-part=score]")
    score.focus()
    score.press("Home")
    expect(counted).to_have_text("3 of 3")
    boxes.keyboard.press("Shift+Y")
    assert [shape["box"]["xmin"] for shape in boxes.shapes()] == [22, 120, 40]
    boxes.keyboard.press("p")
    expect(counted).to_have_text("0 of 3")
    boxes.keyboard.press("p")
    for _ in range(3):
        boxes.keyboard.press("Control+z")
    assert boxes.shapes() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [1280, 820])
def test_the_editors_are_accessible_and_fit(
    inside: Callable, parts: Drawing, keep: Callable, theme: str, width_px: int
) -> None:
    context = inside(theme=theme, width_px=width_px)
    page = context.new_page()
    hand = Hand(page, parts.url, parts.boxes_id)
    hand.open(parts.box_cell_id)
    hand.drag((40, 50), (130, 120))
    hand.keyboard.press("2")
    hand.drag((170, 180), (270, 250))
    looks_right(page, keep, f"label-boxes-{theme}-{width_px}")
    hand = Hand(page, parts.url, parts.masks_id)
    hand.open(parts.mask_cell_id)
    hand.drag((60, 60), (110, 130), (90, 190), steps=12)
    hand.keyboard.press("Escape")
    hand.keyboard.press("2")
    hand.keyboard.press("o")
    for point in ((180, 60), (250, 80), (240, 150), (190, 140)):
        hand.click(*point)
    hand.keyboard.press("Enter")
    looks_right(page, keep, f"label-masks-{theme}-{width_px}")
    context.close()


def looks_right(page: Page, keep: Callable, name: str) -> None:
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    keep(page, name)
    assert axe_violations(page) == []
    assert overflow_px(page) == 0
    assert shift(page)[0] <= MAX_SHIFT
    page.keyboard.press("Control+a")  # the next look finds the image as it was
    page.keyboard.press("Delete")
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
