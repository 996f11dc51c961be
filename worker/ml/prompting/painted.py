"""Strokes as places: which places of an image's finest grid they cover, and how much of each."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from app.contracts.bundle import Preprocessing
from app.contracts.strokes import Stroke
from app.inference.windows import frame_of
from worker.ml.prompting.maps import PLACE_PX

NOTHING = 255  # of a place that no stroke covers
_LEAST_REACH = 0.71  # places: from wherever a point lies, the middle of one is within half a diagonal


def painted_places(
    strokes: Sequence[Stroke],
    index_of: Mapping[int, int],
    *,
    width_px: int,
    height_px: int,
    preprocessing: Preprocessing,
) -> np.ndarray:
    """Return what was painted on each place of the finest grid (G, G) uint8: 0 background, k + 1 class k, or `NOTHING`.

    A later stroke lies above an earlier one. A stroke thinner than a place still covers those that it runs through.

    Args:
        strokes: In the order in which they were painted; those of unknown classes are left out.
        index_of: Index of each class, by its id.
        width_px: Of the image.
        height_px: Of the image.
        preprocessing: How the image is read.
    """
    side = preprocessing.width_px // PLACE_PX
    frame = frame_of(width_px, height_px, preprocessing)
    places = np.full((side, side), NOTHING, dtype=np.uint8)
    for stroke in strokes:
        if stroke.category_id is not None and stroke.category_id not in index_of:
            continue
        value = 0 if stroke.category_id is None else index_of[stroke.category_id] + 1
        points = np.array(stroke.points, dtype=np.float64).reshape(-1, 2)
        points = (points * frame.scale + frame.offset) / PLACE_PX
        places[_covered(points, stroke.radius_px * frame.scale[0] / PLACE_PX, side)] = value
    inside = seen_places(width_px, height_px, preprocessing)
    places[~inside] = NOTHING
    return places


def seen_places(width_px: int, height_px: int, preprocessing: Preprocessing) -> np.ndarray:
    """Return which places (G, G) bool show the image, and not the border around it."""
    side = preprocessing.width_px // PLACE_PX
    frame = frame_of(width_px, height_px, preprocessing)
    spans = []
    for offset, scale, length in zip(frame.offset, frame.scale, (width_px, height_px), strict=True):
        middles = (np.arange(side) + 0.5) * PLACE_PX
        spans.append((middles >= offset) & (middles <= offset + scale * length))
    return spans[1][:, None] & spans[0][None, :]


def _covered(points: np.ndarray, radius: float, side: int) -> np.ndarray:
    """Return the places (side, side) bool whose middle is near a line through points (N, 2), x and y in places."""
    reach = max(radius, _LEAST_REACH)
    covered = np.zeros((side, side), dtype=bool)
    ends = itertools.pairwise(points) if len(points) > 1 else [(points[0], points[0])]
    for start, end in ends:
        low = np.maximum(np.floor(np.minimum(start, end) - reach - 1).astype(int), 0)
        high = np.minimum(np.ceil(np.maximum(start, end) + reach + 1).astype(int), side)
        if (low >= high).any():
            continue
        x = np.arange(low[0], high[0])[None, :] + 0.5
        y = np.arange(low[1], high[1])[:, None] + 0.5
        covered[low[1] : high[1], low[0] : high[0]] |= _distance(x, y, start, end) <= reach
    return covered


def _distance(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return how far each of a grid of points is from a segment."""
    along = end - start
    length = float(along @ along)
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length if length else np.zeros(1)
    share = np.clip(share, 0.0, 1.0)
    return np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
