"""From a detector's raw answers to boxes on the picture: thresholds, suppression, seams.

A is the number of points of one window, K the number of classes, N of boxes. Boxes are rows x, y, x, y in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from app.contracts.bundle import BundleManifest, FindRule, Preprocessing
from app.contracts.predictions import PredictedShape
from app.contracts.shapes import Box
from app.inference.preprocess import to_pixels
from app.inference.windows import Window, frame_of, windows_of

_SEAM_SLACK = 0.02  # share of a window's side within which a box counts as cut by its edge
_SAME_PART = 0.6  # share of the smaller of two boxes across a seam that must lie in the other
_SAME_SIDE = 0.5  # share of their common extent along the seam for two halves to be one

Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Called with windows (N, H, W, 3) uint8; returns boxes (N, A, 4) in input pixels and scores (N, A, K)."""


@dataclass(frozen=True)
class Finds:
    """Boxes (N, 4), their scores (N,) and the indices of their classes (N,), the best first."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def only(self, keep: np.ndarray) -> "Finds":
        return Finds(self.boxes[keep], self.scores[keep], self.labels[keep])


def find(image: Image.Image, manifest: BundleManifest, run: Run) -> tuple[PredictedShape, ...]:
    """Return what a detector finds on a picture, the best first, in the picture's own pixels.

    Everything above the rule's floor is returned; which finds count is a matter of the threshold.
    """
    rule = manifest.finds or FindRule()
    windows = windows_of(*image.size, manifest.tiling)
    pixels = np.stack([to_pixels(window.cut(image), manifest.preprocessing) for window in windows])
    boxes, scores = run(pixels)
    found = [
        _in_window(boxes[index], scores[index], window, manifest.preprocessing, rule)
        for index, window in enumerate(windows)
    ]
    return as_shapes(merge(found, windows, image.size, rule), *image.size)


def _in_window(
    boxes: np.ndarray, scores: np.ndarray, window: Window, preprocessing: Preprocessing, rule: FindRule
) -> Finds:
    """Return one window's finds in the window's own pixels, cut at its edges."""
    finds = select(boxes, scores, rule)
    own = frame_of(window.width, window.height, preprocessing).to_original(finds.boxes)
    limits = np.array([window.width, window.height] * 2)
    own = np.clip(own, 0, limits)
    return Finds(own, finds.scores, finds.labels).only((own[:, 2:] - own[:, :2]).min(axis=1, initial=np.inf) > 0)


def select(boxes: np.ndarray, scores: np.ndarray, rule: FindRule) -> Finds:
    """Return the finds of one window: above the floor, of each class none twice, each where its neighbours say too.

    Args:
        boxes: (A, 4), input pixels.
        scores: (A, K), in [0, 1].
        rule: Floor, overlap and number.
    """
    points, labels = np.nonzero(scores >= rule.score_floor)
    values = scores[points, labels]
    # Stable, so that equal scores come in the same order on every machine.
    order = np.argsort(-values, kind="stable")[: rule.max_candidates]
    points, labels, values = points[order], labels[order], values[order]
    candidates = boxes[points]
    kept = suppress(candidates, labels, rule.max_overlap, rule.max_finds)
    found = candidates[kept]
    if rule.vote_overlap is not None:
        found = _voted(found, labels[kept], candidates, labels, values, rule.vote_overlap)
    return Finds(found, values[kept].astype(np.float64), labels[kept])


def _voted(
    found: np.ndarray,
    found_labels: np.ndarray,
    candidates: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    min_overlap: float,
) -> np.ndarray:
    """Return boxes (N, 4) moved to the mean, weighted by score, of the candidates of their class that overlap them.

    What several points say of one thing is nearer to it than what the surest of them says.

    Source: Gidaris and Komodakis, ICCV 2015, arXiv:1505.01749, section 5 (bounding box voting).
    """
    agrees = (pairwise_iou(found, candidates) >= min_overlap) & (found_labels[:, None] == labels)
    weights = np.where(agrees, scores, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, weights @ candidates / np.maximum(total, 1e-12), found))


def suppress(boxes: np.ndarray, labels: np.ndarray, max_overlap: float, at_most: int | None = None) -> np.ndarray:
    """Return the indices of boxes, the best first, that overlap no better one of their class by more than a limit.

    Greedy non-maximum suppression. Boxes come in falling order of their scores; the limit is an intersection over
    union in [0, 1]. It ends with `at_most` boxes, so that of many candidates few pairs are ever compared.
    """
    at_most = len(boxes) if at_most is None else at_most
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left) and len(kept) < at_most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        overlaps = pairwise_iou(boxes[best][None], boxes[left])[0]
        left = left[(overlaps <= max_overlap) | (labels[left] != labels[best])]
    return np.array(kept, dtype=np.int64)


def pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    shared = _shared(first, second)
    union = _area(first)[:, None] + _area(second)[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-12))


def _shared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.asarray(np.maximum(high - low, 0.0).prod(axis=2))


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1))


# Seams


def merge(found: Sequence[Finds], windows: Sequence[Window], size_px: tuple[int, int], rule: FindRule) -> Finds:
    """Put the finds of all windows together, in the picture's pixels.

    What the edge of a window cut is not reported in pieces: where another window saw the whole, the piece goes; where
    none did, because the thing is larger than the overlap, its pieces become one box with the better score.
    """
    if len(windows) == 1:
        return found[0]  # no seam, and twins are gone: boxes that neighbours moved closer together are still two
    parts, cuts = [], []
    for finds, window in zip(found, windows, strict=True):
        parts.append(Finds(finds.boxes + np.array([window.left, window.top] * 2), finds.scores, finds.labels))
        cuts.append(_cut_by(finds.boxes, window, size_px))
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    if len(boxes):
        boxes, scores, labels = _joined(boxes, scores, labels, np.concatenate(cuts))
    order = np.argsort(-scores, kind="stable")
    whole = Finds(boxes[order], scores[order], labels[order])
    return whole.only(suppress(whole.boxes, whole.labels, rule.max_overlap, rule.max_finds))


def _cut_by(boxes: np.ndarray, window: Window, size_px: tuple[int, int]) -> np.ndarray:
    """Return (N, 4) bool: the box touches this edge of its window, and the picture goes on behind it."""
    slack = _SEAM_SLACK * max(window.width, window.height)
    goes_on = np.array(
        [
            window.left > 0,
            window.top > 0,
            window.left + window.width < size_px[0],
            window.top + window.height < size_px[1],
        ]
    )
    touches = np.concatenate(
        [boxes[:, :2] <= slack, boxes[:, 2:] >= np.array([window.width, window.height]) - slack], 1
    )
    return np.asarray(touches & goes_on)


def _joined(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, cuts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join pieces across seams until nothing joins any more, then drop pieces of what is there as a whole."""
    boxes, scores, cuts = boxes.copy(), scores.copy(), cuts.copy()
    alive = np.ones(len(boxes), dtype=bool)
    for first in np.argsort(-scores, kind="stable"):
        if not alive[first]:
            continue
        while True:
            others = np.flatnonzero(alive & (labels == labels[first]) & (np.arange(len(boxes)) != first))
            mates = [other for other in others if _belong(boxes, cuts, int(first), int(other))]
            if not mates:
                break
            for mate in mates:
                _absorb(boxes, cuts, int(first), int(mate))
                scores[first] = max(scores[first], scores[mate])
                alive[mate] = False
    return boxes[alive], scores[alive], labels[alive]


def _belong(boxes: np.ndarray, cuts: np.ndarray, first: int, other: int) -> bool:
    """Tell whether two finds of a class are pieces of one thing, or one a piece of the other."""
    if not (cuts[first].any() or cuts[other].any()):
        return False
    pair = boxes[[first, other]]
    shared = float(_shared(pair[:1], pair[1:])[0, 0])
    if shared / max(1e-12, float(_area(pair).min())) >= _SAME_PART:
        smaller = first if _area(pair)[0] <= _area(pair)[1] else other
        return bool(cuts[smaller].any())
    for axis in (0, 1):
        # One is cut at its far edge, the other at its near edge, and they meet: two halves.
        opposite = (cuts[first, axis + 2] and cuts[other, axis]) or (cuts[first, axis] and cuts[other, axis + 2])
        across = 1 - axis
        common = min(pair[:, across + 2]) - max(pair[:, across])
        extent = max(pair[:, across + 2]) - min(pair[:, across])
        meets = min(pair[:, axis + 2]) >= max(pair[:, axis])
        if opposite and meets and common >= _SAME_SIDE * extent:
            return True
    return False


def _absorb(boxes: np.ndarray, cuts: np.ndarray, first: int, other: int) -> None:
    """Make `first` the box around both; an edge that lies further in than the other's is no edge of the whole."""
    low = boxes[other, :2] < boxes[first, :2]
    high = boxes[other, 2:] > boxes[first, 2:]
    outer = np.concatenate([low, high])
    cuts[first] = np.where(outer, cuts[other], cuts[first])
    boxes[first] = np.where(outer, boxes[other], boxes[first])


def as_shapes(finds: Finds, width_px: int, height_px: int) -> tuple[PredictedShape, ...]:
    """Return finds as values; what has no area inside the picture is left out."""
    limits = np.array([width_px, height_px] * 2)
    shapes = []
    for box, score, label in zip(np.clip(finds.boxes, 0, limits), finds.scores, finds.labels, strict=True):
        xmin, ymin, xmax, ymax = (round(float(value), 2) for value in box)
        if xmin < xmax and ymin < ymax:
            own = Box(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
            shapes.append(PredictedShape(category_index=int(label), score=float(min(1.0, score)), box=own))
    return tuple(shapes)
