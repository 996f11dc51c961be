"""Figures of a segmenter, from what people marked and what it found, pixel by pixel.

N is the number of images, K of classes; background is index 0, class k is k + 1. H and W are pixels of one image.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from app.contracts.dataset import DatasetItem
from app.contracts.predictions import PredictedShape, ShapeMatch
from app.inference.array_types import Floats, Ints
from app.inference.bootstrap import Estimate, draw_weights, estimate, ratio
from app.inference.rasters import decode_mask, draw_shape
from app.inference.segmentation import ScoreGrid, class_map
from app.inference.segmentation_metrics import ClassPixels, SegmentationMetrics

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)
_PIXEL_STEPS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_REGION_STEPS = np.round(np.arange(0.02, 1.0, 0.02), 2)
_NEARLY_EQUAL = 1e-9
_PIXEL_REACH, _REGION_REACH = 1, 5  # steps over which the curve is smoothed before its top is taken


@dataclass(frozen=True)
class Counted:
    """One image: `pixels` (K + 1, K + 1) by drawn and found class, `defects` (K, 2): how many, and how many are hit."""

    pixels: Ints
    defects: Ints


def count(drawn: np.ndarray, found: np.ndarray, n_categories: int) -> Counted:
    """Compare two maps of classes (H, W) uint8 of one image."""
    defects = np.zeros((n_categories, 2), dtype=np.int64)
    pixels = count_pixels(drawn, found, n_categories)
    for value in np.flatnonzero(pixels[1:].sum(axis=1)) + 1:
        labels, n = ndimage.label(drawn == value, structure=_EIGHT_NEIGHBOURS)
        is_hit = np.bincount(labels[found == value], minlength=n + 1)[1:] > 0
        defects[value - 1] = n, is_hit.sum()
    return Counted(pixels, defects)


def count_pixels(drawn: np.ndarray, found: np.ndarray, n_categories: int) -> Ints:
    """Return pixels by drawn and found class (K + 1, K + 1) of two maps (H, W) of one image."""
    n = n_categories + 1
    return np.asarray(np.bincount(drawn.ravel().astype(np.intp) * n + found.ravel(), minlength=n * n).reshape(n, n))


def measure_masks(counted: Iterable[Counted], n_categories: int, *, threshold: float) -> SegmentationMetrics:
    """Return the figures of N images, compared one by one with `count`."""
    every = list(counted)
    pixels = np.stack([one.pixels for one in every])
    defects = np.stack([one.defects for one in every])
    weights = draw_weights(len(every))
    drawn_pixels = np.tensordot(weights, pixels, axes=1)
    drawn_defects = np.tensordot(weights, defects, axes=1)

    def share(measure: Callable[[Floats], Floats], counts: Ints, samples: Floats, n: int) -> Estimate:
        return estimate(float(measure(counts.sum(axis=0, keepdims=True).astype(np.float64))[0]), measure(samples), n)

    def of_pixels(measure: Callable[[Floats], Floats]) -> Estimate:
        return share(measure, pixels, drawn_pixels, len(every))

    def of_defects(measure: Callable[[Floats], Floats], n: int) -> Estimate:
        return share(measure, defects, drawn_defects, n)

    def one_class(index: int) -> ClassPixels:
        n_there, n_hit = defects[:, index].sum(axis=0).tolist()
        return ClassPixels(
            n_pixels=int(pixels[:, index + 1].sum()),
            n_defects=n_there,
            n_hit=n_hit,
            iou=of_pixels(lambda counts: iou(_sides(counts, index))),
            dice=of_pixels(lambda counts: dice(_sides(counts, index))),
            precision=of_pixels(lambda counts: _precision(_sides(counts, index))),
            recall=of_pixels(lambda counts: _recall(_sides(counts, index))),
            recall_of_defects=of_defects(lambda counts: ratio(counts[:, index, 1], counts[:, index, 0]), n_there),
        )

    n_defects = int(defects[..., 0].sum())
    return SegmentationMetrics(
        n_images=len(every),
        n_defects=n_defects,
        threshold=threshold,
        mean_iou=of_pixels(mean_iou),
        dice=of_pixels(lambda counts: dice(_sides(counts))),
        precision=of_pixels(lambda counts: _precision(_sides(counts))),
        recall=of_pixels(lambda counts: _recall(_sides(counts))),
        recall_of_defects=of_defects(lambda counts: ratio(counts[..., 1].sum(1), counts[..., 0].sum(1)), n_defects),
        classes=tuple(one_class(index) for index in range(n_categories)),
        confusion=tuple(tuple(row) for row in pixels.sum(axis=0).tolist()),
    )


def mean_iou(confusion: Floats) -> Floats:
    """Return the mean IoU (B,) of the classes that (B, K + 1, K + 1) shows; NaN where it shows none."""
    every = np.stack([iou(_sides(confusion, index)) for index in range(confusion.shape[1] - 1)], axis=1)
    every[confusion.sum(axis=2)[:, 1:] == 0] = np.nan  # found, but nowhere drawn: nothing to agree with
    is_there = ~np.isnan(every)
    return ratio(np.where(is_there, every, 0.0).sum(axis=1), is_there.sum(axis=1))


Sides = tuple[Floats, Floats, Floats]
"""Pixels that are both drawn and found, that are only found, that are only drawn; each (B,)."""


def _sides(confusion: Floats, index: int | None = None) -> Sides:
    """Return the counts of one class, or of all together against background."""
    drawn, found = confusion.sum(axis=2), confusion.sum(axis=1)
    if index is None:
        both = confusion[:, 1:, 1:].sum(axis=(1, 2))
        return both, found[:, 1:].sum(axis=1) - both, drawn[:, 1:].sum(axis=1) - both
    both = confusion[:, index + 1, index + 1]
    return both, found[:, index + 1] - both, drawn[:, index + 1] - both


def iou(sides: Sides) -> Floats:
    return ratio(sides[0], sides[0] + sides[1] + sides[2])


def dice(sides: Sides) -> Floats:
    return ratio(2 * sides[0], 2 * sides[0] + sides[1] + sides[2])


def _precision(sides: Sides) -> Floats:
    return ratio(sides[0], sides[0] + sides[1])


def _recall(sides: Sides) -> Floats:
    return ratio(sides[0], sides[0] + sides[2])


def dice_of(confusion: Floats) -> Floats:
    """Return the Dice (B,) of defects as a whole against background."""
    return dice(_sides(confusion))


# Thresholds


def best_pixel_threshold(drawn: Sequence[np.ndarray], grids: Sequence[ScoreGrid], n_categories: int) -> float | None:
    """Return the threshold of pixels with the highest mean of mean IoU and Dice; None where nothing is ever right."""
    scores = []
    for threshold in _PIXEL_STEPS:
        total = np.zeros((1, n_categories + 1, n_categories + 1))
        for truth, grid in zip(drawn, grids, strict=True):
            found = np.zeros_like(truth)
            part = class_map(grid, threshold)
            if part is not None:
                rows, columns = part.classes.shape
                found[part.top : part.top + rows, part.left : part.left + columns] = part.classes
            total[0] += count_pixels(truth, found, n_categories)
        scores.append(float(np.nan_to_num([mean_iou(total)[0], dice_of(total)[0]]).mean()))
    if not any(scores):
        return None
    return _PIXEL_STEPS[int(np.argmax(_smooth(scores, _PIXEL_REACH)))]


def _smooth(values: Sequence[float], reach: int) -> Floats:
    """Average values over their neighbours up to `reach` steps away, nearer ones more.

    A few dev images draw a ragged curve, and its highest point is mostly luck.
    """
    weights = 1.0 + reach - np.abs(np.arange(-reach, reach + 1))
    padded = np.pad(np.asarray(values, dtype=np.float64), reach, mode="edge")
    return np.convolve(padded, weights / weights.sum(), mode="valid")


@dataclass(frozen=True)
class Hits:
    """One image: of each find its score, which defects it hits, its pixels, and those that are on any defect.

    `n_defects` and `n_drawn` count the defects that there are, and their pixels.
    """

    scores: tuple[float, ...]
    defects: tuple[frozenset[int], ...]
    n_pixels: tuple[int, ...]
    n_covered: tuple[int, ...]
    n_defects: int
    n_drawn: int


def hits_of(drawn: np.ndarray, shapes: Sequence[PredictedShape]) -> Hits:
    """Return which connected parts of a map of classes (H, W) each region hits, of its own class."""
    numbered, n_defects = np.zeros(drawn.shape, dtype=np.int64), 0
    for value in np.flatnonzero(np.bincount(drawn.ravel())[1:]) + 1:
        labels, n = ndimage.label(drawn == value, structure=_EIGHT_NEIGHBOURS)
        numbered[labels > 0] = labels[labels > 0] + n_defects
        n_defects += n
    hit, n_pixels, n_covered = [], [], []
    for shape in shapes:
        assert shape.mask is not None
        mask, inside = shape.mask, decode_mask(shape.mask)
        place = (slice(mask.ymin, mask.ymin + mask.height), slice(mask.xmin, mask.xmin + mask.width))
        n_pixels.append(int(inside.sum()))
        n_covered.append(int((inside & (drawn[place] > 0)).sum()))
        is_own = inside & (drawn[place] == shape.category_index + 1)
        hit.append(frozenset(np.unique(numbered[place][is_own]).tolist()))
    scores = tuple(shape.score for shape in shapes)
    return Hits(scores, tuple(hit), tuple(n_pixels), tuple(n_covered), n_defects, int((drawn > 0).sum()))


@dataclass(frozen=True)
class RegionThreshold:
    """A threshold of regions, with the F1 of finding defects and the Dice of their pixels at it."""

    value: float
    f1: float
    dice: float


def best_region_threshold(hits: Sequence[Hits]) -> RegionThreshold | None:
    """Return the threshold with the highest product of F1 and Dice, smoothed; the middle of equals. None: nothing hit.

    Of F1, precision is the share of regions that hit a defect of their class, recall the share of defects that are
    hit. By F1 alone one wide region counts no more than one speck, and thresholds rise until wide ones are lost.
    """
    points = [_at(hits, threshold) for threshold in _REGION_STEPS.tolist()]
    products = [point.f1 * point.dice for point in points]
    if not any(products):
        return None
    curve = _smooth(products, _REGION_REACH)
    equals = [point for point, value in zip(points, curve, strict=True) if value >= curve.max() - _NEARLY_EQUAL]
    return equals[len(equals) // 2]


def _at(hits: Sequence[Hits], threshold: float) -> RegionThreshold:
    n_regions = n_right = n_hit = n_pixels = n_covered = 0
    for one in hits:
        kept = [index for index, score in enumerate(one.scores) if score >= threshold]
        n_regions += len(kept)
        n_right += sum(bool(one.defects[index]) for index in kept)
        n_hit += len(frozenset().union(*(one.defects[index] for index in kept)))
        n_pixels += sum(one.n_pixels[index] for index in kept)
        n_covered += sum(one.n_covered[index] for index in kept)
    precision, recall = n_right / max(1, n_regions), n_hit / max(1, sum(one.n_defects for one in hits))
    f1 = 2 * precision * recall / (precision + recall) if n_right else 0.0
    return RegionThreshold(threshold, f1, 2 * n_covered / max(1, n_pixels + sum(one.n_drawn for one in hits)))


def matches_of(item: DatasetItem, shapes: Sequence[PredictedShape], index_of: dict[int, int]) -> tuple[ShapeMatch, ...]:
    """Return, for each region, the drawn shape that it shares most pixels with, of its class and of any."""
    if not item.annotations or not shapes:
        return tuple(ShapeMatch() for _ in shapes)
    numbered = np.zeros((item.height_px, item.width_px), dtype=np.uint16)
    for number, one in enumerate(item.annotations, start=1):
        if one.shape is not None:
            draw_shape(one.shape, numbered, number)
    classes = np.array([-1, *(index_of[one.category_id] for one in item.annotations)])
    matches = []
    for shape in shapes:
        assert shape.mask is not None
        mask = shape.mask
        place = (slice(mask.ymin, mask.ymin + mask.height), slice(mask.xmin, mask.xmin + mask.width))
        shared = np.bincount(numbered[place][decode_mask(mask)], minlength=len(classes))
        shared[0] = 0
        own = np.where(classes == shape.category_index, shared, 0)
        matches.append(ShapeMatch(own=_most(own), any=_most(shared)))
    return tuple(matches)


def _most(shared: np.ndarray) -> int | None:
    best = int(shared.argmax())
    return best - 1 if shared[best] else None
