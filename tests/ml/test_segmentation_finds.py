"""From scores to regions, and the figures of regions, against what can be counted by hand."""

import numpy as np
import pytest
from PIL import Image

from app.contracts.bundle import MaskRule, Preprocessing, Tiling
from app.contracts.dataset import AnnotationValue, DatasetItem
from app.contracts.predictions import PredictedShape
from app.contracts.shapes import Box, Polygon
from app.inference.rasters import decode_mask, draw_shape, encode_mask
from app.inference.segmentation import ScoreGrid, class_map, regions, score_grid
from worker.ml.evaluation.segmentation import (
    best_pixel_threshold,
    best_region_threshold,
    count,
    hits_of,
    matches_of,
    measure_masks,
)


class Manifest:
    def __init__(self, side_px, *, resize="stretch", tiling=None):
        self.preprocessing = Preprocessing(
            width_px=side_px, height_px=side_px, resize=resize, resample="bilinear", mean=(0, 0, 0), std=(1, 1, 1)
        )
        self.tiling = tiling
        self.masks = MaskRule()


def bright(pixels):
    """A network that calls bright places class 1, at half of the input's size."""
    shares = pixels[..., 0].astype(np.float32) / 255.0
    halved = shares.reshape(len(pixels), shares.shape[1] // 2, 2, shares.shape[2] // 2, 2).mean(axis=(2, 4))
    return np.stack([1.0 - halved, halved], axis=1)


def picture(width, height, *boxes):
    pixels = np.zeros((height, width), dtype=np.uint8)
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def found(image, manifest):
    return regions(score_grid(image, manifest, bright), manifest.masks)


def marked(shapes, width, height):
    canvas = np.zeros((height, width), dtype=np.uint8)
    for shape in shapes:
        draw_shape(shape.mask, canvas, 1)
    return canvas


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("tiling", [None, Tiling(side_px=64, overlap_px=16)])
def test_a_region_lies_where_the_picture_is_bright(resize, tiling):
    image = picture(150, 90, (30, 20, 70, 60), (110, 70, 150, 90))
    shapes = found(image, Manifest(64, resize=resize, tiling=tiling))
    assert len(shapes) == 2
    truth = np.asarray(image) > 0
    overlap = marked(shapes, 150, 90) > 0
    assert (overlap & truth).sum() / (overlap | truth).sum() > 0.9


def test_what_crosses_a_seam_is_one_region():
    shapes = found(picture(200, 64, (10, 20, 190, 40)), Manifest(64, tiling=Tiling(side_px=64, overlap_px=16)))
    assert len(shapes) == 1
    assert shapes[0].box.xmax - shapes[0].box.xmin == pytest.approx(180, abs=6)


def test_without_tiles_and_at_its_own_size_a_picture_is_found_as_it_is():
    image = picture(64, 64, (10, 20, 30, 40))
    (shape,) = found(image, Manifest(64))
    assert shape.box == Box(xmin=10, ymin=20, xmax=30, ymax=40)
    assert decode_mask(shape.mask).all()
    assert shape.score > 0.9


def test_nothing_bright_is_nothing_found():
    assert found(picture(64, 64), Manifest(64)) == ()


def test_small_regions_and_more_than_the_most_are_left_out():
    image = picture(64, 64, (4, 4, 6, 6), (20, 20, 30, 30), (40, 40, 60, 60))
    grid = score_grid(image, Manifest(64), bright)
    assert len(regions(grid, MaskRule(min_places=0))) == 3
    assert len(regions(grid, MaskRule(min_places=3))) == 2
    assert len(regions(grid, MaskRule(min_places=0, max_regions=1))) == 1


def test_touching_regions_of_two_classes_stay_two():
    scores = np.zeros((3, 8, 8), dtype=np.float32)
    scores[1, :, :4] = 0.9
    scores[2, :, 4:] = 0.8
    scores[0] = 1.0 - scores[1:].sum(axis=0)
    shapes = regions(ScoreGrid(scores, (8, 8)), MaskRule())
    assert [shape.category_index for shape in shapes] == [0, 1]
    assert [round(shape.score, 2) for shape in shapes] == [0.9, 0.8]


def test_a_mask_survives_the_way_through_runs():
    generator = np.random.default_rng(0)
    for _ in range(20):
        pixels = generator.random((7, 9)) < 0.3
        pixels[3, 4] = True
        mask = encode_mask(pixels, left=5, top=2)
        canvas = np.zeros((12, 16), dtype=np.uint8)
        draw_shape(mask, canvas, 3)
        assert (canvas[2:9, 5:14] == 3 * pixels).all()
        assert canvas.sum() == 3 * pixels.sum()


def test_a_polygon_covers_the_pixels_whose_centres_it_holds_and_leaves_its_holes():
    canvas = np.zeros((20, 20), dtype=np.uint8)
    outside, hole = (2.0, 2.0, 18.0, 2.0, 18.0, 18.0, 2.0, 18.0), (6.0, 6.0, 12.0, 6.0, 12.0, 12.0, 6.0, 12.0)
    draw_shape(Polygon(rings=(outside, hole)), canvas, 1)
    assert canvas[3, 3]
    assert canvas[17, 17]
    assert not canvas[8, 8]
    assert not canvas[1, 1]
    assert canvas.sum() == 16 * 16 - 6 * 6


def test_figures_are_those_counted_by_hand():
    drawn, seen = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    drawn[:4, :4], drawn[6:8, 6:8] = 1, 2
    seen[:4, 2:6] = 1
    measured = measure_masks([count(drawn, seen, 2), count(drawn * 0, seen * 0, 2)], 2, threshold=0.5)
    assert measured.classes[0].iou.value == pytest.approx(8 / 24)
    assert measured.classes[0].dice.value == pytest.approx(0.5)
    assert measured.classes[1].iou.value == 0.0
    assert measured.mean_iou.value == pytest.approx(4 / 24)
    assert measured.precision.value == pytest.approx(0.5)
    assert measured.recall.value == pytest.approx(8 / 20)
    assert (measured.n_defects, measured.recall_of_defects.value) == (2, 0.5)
    assert np.array(measured.confusion).sum() == 200


def region(pixels, category_index, score):
    mask = encode_mask(pixels)
    return PredictedShape(category_index=category_index, score=score, box=mask.bounds, mask=mask)


def test_thresholds_keep_what_hits_and_drop_what_does_not():
    drawn = np.zeros((10, 10), np.uint8)
    drawn[1:4, 1:4], drawn[6:9, 6:9] = 1, 2
    shapes = [region(drawn == 1, 0, 0.9), region(drawn == 2, 1, 0.8), region(drawn == 2, 0, 0.3)]
    hits = hits_of(drawn, shapes)
    assert hits.n_defects == 2
    assert [len(own) for own in hits.defects] == [1, 1, 0]
    best = best_region_threshold([hits])
    assert 0.3 < best.value <= 0.8
    assert best.f1 == best.dice == 1.0
    assert best_region_threshold([hits_of(drawn * 0, shapes)]) is None


def test_a_threshold_keeps_the_wide_region_that_f1_alone_would_give_up():
    def at(rows, columns):
        pixels = np.zeros((20, 20), bool)
        pixels[rows, columns] = True
        return pixels

    wide, specks, wrong = at(slice(10), slice(20)), [at(15, 2), at(15, 6)], [at(12, 12), at(18, 18)]
    drawn = np.any([wide, *specks], axis=0).astype(np.uint8)
    shapes = [region(one, 0, 0.9) for one in specks] + [region(one, 0, 0.6) for one in wrong] + [region(wide, 0, 0.5)]
    best = best_region_threshold([hits_of(drawn, shapes)])
    assert best.value <= 0.5  # F1 alone: 0.8 without the wide one, 0.75 with it
    assert best.dice > 0.98


def test_the_threshold_of_pixels_is_the_one_of_the_best_overlap():
    scores = np.zeros((2, 10, 10), dtype=np.float32)
    scores[1, :5], scores[1, 5:8] = 0.75, 0.45
    scores[0] = 1.0 - scores[1]
    drawn = np.zeros((10, 10), np.uint8)
    drawn[:5] = 1
    best = best_pixel_threshold([drawn], [ScoreGrid(scores, (10, 10))], 1)
    assert 0.45 < best <= 0.75
    assert class_map(ScoreGrid(scores, (10, 10)), 0.8) is None


def test_a_region_is_matched_with_the_shape_that_it_shares_most_with():
    first, second = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    first[:4, :4], second[4:, 4:] = True, True
    item = DatasetItem(
        image_id=1,
        sha256="",
        blob_key="",
        width_px=10,
        height_px=10,
        split="test",
        annotations=(
            AnnotationValue(category_id=5, mask=encode_mask(first)),
            AnnotationValue(category_id=6, mask=encode_mask(second)),
        ),
    )
    shapes = [region(first, 0, 0.9), region(second, 0, 0.8), region(~(first | second), 1, 0.7)]
    matches = matches_of(item, shapes, {5: 0, 6: 1})
    assert [(one.own, one.any) for one in matches] == [(0, 0), (None, 1), (None, None)]
