"""Pictures next to their references: aligned, exposed alike, and the difference between them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from app.contracts.reference import ReferenceRule, value_key
from app.inference.preprocess import Compared, open_picture
from app.inference.reference import ReferenceMismatch, align, compare
from benchmarks.boards import draw_pair, layout
from tests.boards import BY_NAME, ONE, png


def board(seed, *, side_px=96, **more):
    generator = np.random.default_rng(seed)
    return draw_pair(generator, layout(generator, cells=6), n_defects=0, side_px=side_px, **more)


def channels(picture, reference):
    joined = np.asarray(compare(Image.fromarray(picture), Image.fromarray(reference)))
    return joined[..., 0], joined[..., 1], joined[..., 2]


@pytest.mark.parametrize("seed", range(4))
def test_a_shifted_turned_and_lit_pair_hardly_differs(seed):
    pair = board(seed, max_shift_px=6.0, max_turn_deg=2.0)
    grey, laid, difference = channels(pair.picture, pair.reference)
    before = np.abs(pair.picture.astype(int) - pair.reference).mean()
    assert (grey == pair.picture).all()
    assert difference.mean() < 6 < before
    assert np.abs(laid.astype(int) - grey)[10:-10, 10:-10].mean() < 6


def test_a_defect_stands_out_of_the_difference():
    generator = np.random.default_rng(3)
    pair = draw_pair(generator, layout(generator, cells=6), n_defects=1, side_px=96)
    difference = channels(pair.picture, pair.reference)[2].copy()
    left, top, right, bottom = (round(side) for side in pair.defects[0][1])
    assert difference[top + 3 : bottom - 3, left + 3 : right - 3].mean() > 60
    difference[top - 3 : bottom + 3, left - 3 : right + 3] = 0
    assert difference.mean() < 6


def test_the_same_two_pictures_give_the_same_bytes():
    pair = board(1, max_shift_px=5.0)
    assert all((one == other).all() for one, other in zip(*[channels(pair.picture, pair.reference)] * 2, strict=True))
    assert np.array_equal(align(pair.reference, pair.reference), np.eye(2, 3))


def test_what_cannot_be_aligned_stays_in_place():
    generator = np.random.default_rng(0)
    noise, other = (generator.integers(0, 255, (64, 64)).astype(np.uint8) for _ in range(2))
    flat = np.full((64, 64), 90, dtype=np.uint8)
    assert np.array_equal(align(flat, noise), np.eye(2, 3))
    warp = align(noise, other)
    assert np.abs(warp[:, 2]).max() < 10
    far = board(2, max_shift_px=0.0, max_turn_deg=0.0).reference
    turned = cv2.rotate(far, cv2.ROTATE_90_CLOCKWISE)
    assert abs(np.degrees(np.arctan2(*align(turned, far)[::-1, 0]))) <= 5.0


def test_beyond_the_edge_of_the_reference_nothing_differs():
    pair = board(5, max_shift_px=0.0, max_turn_deg=0.0)
    moved = np.roll(pair.reference, 8, axis=1)
    moved[:, :8] = 255
    assert channels(moved, pair.reference)[2][:, :6].max() == 0


def test_a_wrong_colour_of_the_same_brightness_differs():
    red, green = Image.new("RGB", (32, 32), (100, 0, 0)), Image.new("RGB", (32, 32), (0, 51, 0))
    grey, laid, difference = np.asarray(compare(red, green)).transpose(2, 0, 1)
    assert np.abs(grey.astype(int) - laid).max() <= 1
    assert difference.min() > 40


def test_another_size_is_resized_and_other_proportions_are_refused():
    pair = board(4)
    large = cv2.resize(pair.reference, (192, 192), interpolation=cv2.INTER_CUBIC)
    assert channels(pair.picture, large)[2].mean() < 8
    with pytest.raises(ReferenceMismatch, match="same proportions"):
        compare(Image.fromarray(pair.picture), Image.fromarray(pair.reference[:80]))


def test_a_picture_is_opened_together_with_its_reference():
    pair = board(6)
    opened = open_picture(Compared(png(pair.picture), png(pair.reference)))
    assert opened == compare(Image.fromarray(pair.picture), Image.fromarray(pair.reference))
    with pytest.raises(TypeError):
        open_picture(Compared(png(pair.picture), key="part1"))


@pytest.mark.parametrize(
    ("name", "is_reference", "key"),
    [
        ("part7_test.png", False, "part7"),
        ("lot 3/Part7_TEST.JPG", False, "part7"),
        ("part7_temp.png", True, None),
        ("part7.png", False, None),
        ("_test.png", False, None),
        ("A7.3_test", False, "a7.3"),
    ],
)
def test_names_join_pictures_and_references(name, is_reference, key):
    assert BY_NAME.is_reference_name(name) is is_reference
    assert BY_NAME.key_of_image(name) == key
    assert ONE.key_of_image(name) == ONE.key_of_reference("any.png") == ""
    assert not ONE.is_reference_name(name)


def test_metadata_values_join_pictures_and_references():
    rule = ReferenceRule(kind="metadata", field_id=3, field="board")
    assert rule.key_of_image("x.png", " A7 ") == rule.key_of_reference("y.png", "a7") == "a7"
    assert [value_key(one) for one in (7, 7.0, True, "", None, ["a"])] == ["7", "7", "true", None, None, None]
