"""From a segmenter's raw answers to regions on the picture: windows put together, a threshold, connected components.

K is the number of classes; index 0 of an answer is background, the index of class k is k + 1. R and C are the rows and
columns of the grid of places that all windows of one picture share; H and W are the picture's own pixels.

Source: connected components after a threshold on pixels, then a second, higher one on whole regions, is hysteresis
thresholding, J. Canny, A computational approach to edge detection, IEEE TPAMI 8, 1986, section VI.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from app.contracts.bundle import BundleManifest, MaskRule, Preprocessing, Tiling
from app.contracts.predictions import PredictedShape
from app.contracts.shapes import Box
from app.inference.preprocess import to_pixels
from app.inference.rasters import TooRagged, encode_mask
from app.inference.windows import Window, frame_of, windows_of

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)
_NEARLY = 1e-6

Run = Callable[[np.ndarray], np.ndarray]
"""Called with windows (N, H, W, 3) uint8 at the network's size; returns scores (N, K + 1, H', W')."""

Look = Callable[[Window], np.ndarray]
"""Called with a window of the picture; returns its scores (K + 1, H', W')."""


@dataclass(frozen=True)
class ScoreGrid:
    """Scores (K + 1, R, C) of the places of one picture; they cover it evenly, and sum to 1 at each."""

    scores: np.ndarray
    size_px: tuple[int, int]

    @property
    def cell_px(self) -> tuple[float, float]:
        """Width and height of one place in the picture's pixels."""
        return self.size_px[0] / self.scores.shape[2], self.size_px[1] / self.scores.shape[1]


def segment(image: Image.Image, manifest: BundleManifest, run: Run) -> tuple[PredictedShape, ...]:
    """Return the regions that a segmenter finds on a picture, the best first, in the picture's own pixels."""
    return regions(score_grid(image, manifest, run), manifest.masks or MaskRule())


def score_grid(image: Image.Image, manifest: BundleManifest, run: Run) -> ScoreGrid:
    """Return the scores of a picture; where windows share a place, the one further inside of its window counts more."""

    def look(window: Window) -> np.ndarray:
        scores: np.ndarray = run(to_pixels(window.cut(image), manifest.preprocessing)[None])[0]
        return scores

    return gathered(image.size, look, preprocessing=manifest.preprocessing, tiling=manifest.tiling)


def gathered(
    size_px: tuple[int, int], look: Look, *, preprocessing: Preprocessing, tiling: Tiling | None = None
) -> ScoreGrid:
    """Return the scores of a picture of a size (width, height) from those of its windows."""
    total, weight = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32)
    for window in windows_of(*size_px, tiling):
        scores = look(window)
        size = _grid_size(size_px, window, preprocessing, scores.shape[1:])
        if not total.size:
            total, weight = np.zeros((len(scores), *size), np.float32), np.zeros(size, np.float32)
        rows, columns, part = _on_grid(scores, window, size_px, size, preprocessing)
        inner = _inwardness(part.shape[1:])
        total[:, rows, columns] += part * inner
        weight[rows, columns] += inner
    return ScoreGrid(total / np.maximum(weight, _NEARLY), size_px)


def _grid_size(
    size_px: tuple[int, int], window: Window, preprocessing: Preprocessing, answer: tuple[int, ...]
) -> tuple[int, int]:
    """Return R and C: places as large as the network's own. All windows of a picture have one size."""
    scale = frame_of(window.width, window.height, preprocessing).scale
    columns = size_px[0] * scale[0] * answer[1] / preprocessing.width_px
    rows = size_px[1] * scale[1] * answer[0] / preprocessing.height_px
    return max(1, round(rows)), max(1, round(columns))


def _on_grid(
    scores: np.ndarray, window: Window, size_px: tuple[int, int], grid: tuple[int, int], preprocessing: Preprocessing
) -> tuple[slice, slice, np.ndarray]:
    """Return the grid's places that lie in a window, and the window's scores at them (K + 1, rows, columns)."""
    frame = frame_of(window.width, window.height, preprocessing)
    sides = (preprocessing.width_px, preprocessing.height_px)
    spans, edges = [], []
    for axis, (start, length) in enumerate(((window.left, window.width), (window.top, window.height))):
        n_places, n_answers = grid[1 - axis], scores.shape[2 - axis]
        cell = size_px[axis] / n_places
        first = int(np.ceil(start / cell - _NEARLY))
        last = max(first + 1, int(np.floor((start + length) / cell + _NEARLY)))
        to_answer = n_answers / sides[axis]
        ends = [
            ((place * cell - start) * frame.scale[axis] + frame.offset[axis]) * to_answer for place in (first, last)
        ]
        spans.append(slice(first, last))
        edges.append((max(0.0, ends[0]), min(float(n_answers), ends[1])))
    size = (spans[0].stop - spans[0].start, spans[1].stop - spans[1].start)
    box = (edges[0][0], edges[1][0], edges[0][1], edges[1][1])
    return spans[1], spans[0], np.stack([_resized(one, size, box) for one in scores])


def _resized(values: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """Return a part of values as (height, width) = reversed `size`, in between smoothly."""
    if size == values.shape[::-1] and np.allclose(box, (0, 0, *size)):
        return values.astype(np.float32, copy=False)
    picture = Image.fromarray(values.astype(np.float32, copy=False))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))


def _inwardness(shape: tuple[int, ...]) -> np.ndarray:
    """Return (rows, columns), larger towards the middle: at its edge a window knows least."""
    down, across = (np.minimum(np.arange(n) + 1, n - np.arange(n)).astype(np.float32) for n in shape)
    return np.minimum(down[:, None], across[None, :])


@dataclass(frozen=True)
class ClassMap:
    """What a part of a picture shows: `classes` (h, w) uint8, 0 for background, and how sure, `scores` (h, w)."""

    left: int
    top: int
    classes: np.ndarray
    scores: np.ndarray


def class_map(grid: ScoreGrid, threshold: float) -> ClassMap | None:
    """Return the classes of the smallest part of a picture that holds all marked pixels; None where none is.

    A pixel is marked where its score of not being background reaches the threshold; it then has its likeliest class.
    """
    hot = grid.scores[0] <= 1.0 - threshold
    rows, columns = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
    if not len(rows):
        return None
    cell = grid.cell_px
    # Smoothing in between reaches one place further, and no score beyond its neighbours'.
    left, right = max(0.0, (columns[0] - 1) * cell[0]), min(grid.size_px[0], (columns[-1] + 2) * cell[0])
    top, bottom = max(0.0, (rows[0] - 1) * cell[1]), min(grid.size_px[1], (rows[-1] + 2) * cell[1])
    x, y = int(left), int(top)
    size = (int(np.ceil(right)) - x, int(np.ceil(bottom)) - y)
    box = (x / cell[0], y / cell[1], (x + size[0]) / cell[0], (y + size[1]) / cell[1])
    box = (*box[:2], min(box[2], grid.scores.shape[2]), min(box[3], grid.scores.shape[1]))
    best, classes = np.zeros(size[::-1], np.float32), np.zeros(size[::-1], np.uint8)
    for index, scores in enumerate(grid.scores[1:], start=1):
        own = _resized(scores, size, box)
        classes[own > best] = index
        np.maximum(best, own, out=best)
    classes[_resized(grid.scores[0], size, box) > 1.0 - threshold] = 0
    return ClassMap(x, y, classes, best)


def regions(grid: ScoreGrid, rule: MaskRule) -> tuple[PredictedShape, ...]:
    """Return connected pixels of one class as shapes, the best first; the score is their pixels' mean."""
    found = class_map(grid, rule.pixel_threshold)
    if found is None:
        return ()
    from scipy import ndimage  # takes a tenth of a second to load: only where something is found

    cell = grid.cell_px
    min_area_px = rule.min_places * cell[0] * cell[1]
    shapes: list[PredictedShape] = []
    for value in np.flatnonzero(np.bincount(found.classes.ravel())[1:]) + 1:
        labels, n = ndimage.label(found.classes == value, structure=_EIGHT_NEIGHBOURS)
        areas = np.bincount(labels.ravel(), minlength=n + 1)
        sums = np.bincount(labels.ravel(), weights=found.scores.ravel(), minlength=n + 1)
        for number, place in enumerate(ndimage.find_objects(labels), start=1):
            if areas[number] < min_area_px:
                continue
            left, top = found.left + place[1].start, found.top + place[0].start
            shape = _shape(labels[place] == number, left, top, int(value) - 1, sums[number] / areas[number])
            shapes.extend([shape] if shape else [])
    return tuple(sorted(shapes, key=lambda one: -one.score)[: rule.max_regions])


def _shape(marked: np.ndarray, left: int, top: int, category_index: int, score: float) -> PredictedShape | None:
    try:
        mask = encode_mask(marked, left=left, top=top)
    except TooRagged:
        return None
    bounds = Box(xmin=left, ymin=top, xmax=left + marked.shape[1], ymax=top + marked.shape[0])
    return PredictedShape(category_index=category_index, score=float(min(1.0, score)), box=bounds, mask=mask)
