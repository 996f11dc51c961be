"""Figures of a detector, and the threshold that is best on given images. N is the number of images, K of classes."""

from collections.abc import Sequence

import numpy as np

from app.inference.detection_metrics import ClassFinds, DetectionMetrics, ThresholdPoint
from worker.ml.evaluation.coco import Boxed, average_precision, match

_STEPS = np.round(np.arange(0.02, 1.0, 0.01), 2)


def measure_finds(
    truth: Sequence[Boxed], finds: Sequence[Boxed], n_categories: int, *, threshold: float
) -> DetectionMetrics:
    """Return the figures of N images; `finds` hold everything above the floor, also below the threshold."""
    precision = average_precision(truth, finds, n_categories)
    shown = [_above(one, threshold) for one in finds]
    n_drawn, n_found, n_right = np.zeros((3, n_categories), dtype=np.int64)
    for one in truth:
        n_drawn += np.bincount(one.labels, minlength=n_categories)
    for one in shown:
        n_found += np.bincount(one.labels, minlength=n_categories)
    for pair in match(truth, shown, n_categories, by_category=True):
        if pair.find is not None and pair.truth is not None:
            n_right[truth[pair.image].labels[pair.truth]] += 1
    total = _rates(int(n_right.sum()), int(n_found.sum()), int(n_drawn.sum()))
    classes = []
    for category in range(n_categories):
        ap = precision.by_category[category]
        right, found, drawn = int(n_right[category]), int(n_found[category]), int(n_drawn[category])
        rates = _rates(right, found, drawn)
        classes.append(
            ClassFinds(
                n_drawn=drawn,
                n_found=found,
                ap50=ap[0] if ap else None,
                ap50_95=ap[1] if ap else None,
                precision=rates[0],
                recall=rates[1],
                f1=rates[2],
            )
        )
    return DetectionMetrics(
        n_images=len(truth),
        n_drawn=int(n_drawn.sum()),
        threshold=threshold,
        map50=precision.map50,
        map50_95=precision.map50_95,
        precision=total[0],
        recall=total[1],
        f1=total[2],
        classes=tuple(classes),
        confusion=_confusion(truth, shown, n_categories),
        curve=threshold_curve(truth, finds, n_categories),
    )


def threshold_curve(truth: Sequence[Boxed], finds: Sequence[Boxed], n_categories: int) -> tuple[ThresholdPoint, ...]:
    """Return counts by threshold. One matching serves all: a find never changes what better ones were matched with."""
    pairs = match(truth, finds, n_categories, by_category=True)
    scores = np.array([_score(finds, pair.image, pair.find) for pair in pairs if pair.find is not None])
    is_right = np.array([pair.truth is not None for pair in pairs if pair.find is not None], dtype=bool)
    n_drawn = sum(len(one.labels) for one in truth)
    points = []
    for threshold in _STEPS.tolist():
        counts = scores >= threshold
        right, found = int((counts & is_right).sum()), int(counts.sum())
        points.append(
            ThresholdPoint(
                threshold=threshold,
                n_right=right,
                n_extra=found - right,
                n_missed=n_drawn - right,
                f1=_rates(right, found, n_drawn)[2],
            )
        )
    return tuple(points)


def best_threshold(curve: Sequence[ThresholdPoint]) -> tuple[float, float] | None:
    """Return the threshold of the highest F1, and that F1; the middle one of equals. None where nothing was found."""
    best = max((point.f1 for point in curve if point.f1 is not None), default=None)
    if not best:
        return None
    equals = [point.threshold for point in curve if point.f1 == best]
    return equals[len(equals) // 2], best


def _above(one: Boxed, threshold: float) -> Boxed:
    assert one.scores is not None
    keep = one.scores >= threshold
    return Boxed(one.boxes[keep], one.labels[keep], one.scores[keep])


def _score(finds: Sequence[Boxed], image: int, find: int) -> float:
    scores = finds[image].scores
    assert scores is not None
    return float(scores[find])


def _rates(right: int, found: int, drawn: int) -> tuple[float | None, float | None, float | None]:
    """Return precision, recall and F1."""
    precision = right / found if found else None
    recall = right / drawn if drawn else None
    return precision, recall, 2 * right / (found + drawn) if found + drawn else None


def _confusion(truth: Sequence[Boxed], shown: Sequence[Boxed], n_categories: int) -> tuple[tuple[int, ...], ...]:
    grid = np.zeros((n_categories + 1, n_categories + 1), dtype=np.int64)
    for pair in match(truth, shown, n_categories, by_category=False):
        row = n_categories if pair.truth is None else truth[pair.image].labels[pair.truth]
        column = n_categories if pair.find is None else shown[pair.image].labels[pair.find]
        grid[row, column] += 1
    return tuple(tuple(row) for row in grid.tolist())
