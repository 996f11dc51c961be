"""Figures of a detector, and the threshold that is best on given images. N is the number of images, K of classes."""

from collections.abc import Sequence

import numpy as np

from app.inference.bootstrap import Estimate
from app.inference.detection_metrics import ClassFinds, DetectionMetrics, ThresholdPoint
from app.inference.shape_figures import FoundShapes, figures_at, map50_interval
from worker.ml.evaluation.coco import Boxed, average_precision, matches_of

_STEPS = np.round(np.arange(0.02, 1.0, 0.01), 2)


def measure_finds(
    truth: Sequence[Boxed], finds: Sequence[Boxed], n_categories: int, *, threshold: float
) -> DetectionMetrics:
    """Return the figures of N images; `finds` hold everything above the floor, also below the threshold."""
    precision = average_precision(truth, finds, n_categories)
    shapes = found_shapes(truth, finds, n_categories)
    figures = figures_at(shapes, threshold)
    interval = map50_interval(shapes) or (None, None)
    return DetectionMetrics(
        n_images=len(truth),
        n_drawn=figures.total.n_drawn,
        threshold=threshold,
        map50=Estimate(precision.map50, *interval),
        map50_95=Estimate(precision.map50_95),
        precision=figures.total.precision,
        recall=figures.total.recall,
        f1=figures.total.f1,
        classes=tuple(
            ClassFinds(
                n_drawn=counts.n_drawn,
                n_found=counts.n_found,
                ap50=ap[0] if ap else None,
                ap50_95=ap[1] if ap else None,
                precision=counts.precision.value,
                recall=counts.recall.value,
                f1=counts.f1.value,
            )
            for counts, ap in zip(figures.classes, precision.by_category, strict=True)
        ),
        confusion=tuple(tuple(row) for row in figures.confusion.tolist()),
        curve=threshold_curve(shapes),
    )


def found_shapes(truth: Sequence[Boxed], finds: Sequence[Boxed], n_categories: int) -> FoundShapes:
    """Return N images with their boxes and finds, matched by the COCO evaluation, as the report counts them."""
    first = np.cumsum([0, *(len(one.labels) for one in truth)])
    matches = matches_of(truth, finds, n_categories)
    places = [
        [-1 if place is None else int(first[image]) + place for match in found for place in (match.own, match.any)]
        for image, found in enumerate(matches)
    ]
    own_any = np.array([place for row in places for place in row], dtype=np.int64).reshape(-1, 2)
    return FoundShapes(
        n_images=len(truth),
        n_classes=n_categories,
        drawn_image=_image_of(truth),
        drawn_class=_joined([one.labels for one in truth]).astype(np.int64),
        find_image=_image_of(finds),
        find_class=_joined([one.labels for one in finds]).astype(np.int64),
        find_score=_joined([one.scores for one in finds if one.scores is not None]),
        find_own=own_any[:, 0],
        find_any=own_any[:, 1],
    )


def _image_of(images: Sequence[Boxed]) -> np.ndarray:
    return np.repeat(np.arange(len(images)), [len(one.labels) for one in images])


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *parts])


def threshold_curve(shapes: FoundShapes) -> tuple[ThresholdPoint, ...]:
    """Return counts by threshold. One matching serves all: a find never changes what better ones were matched with."""
    is_right = shapes.find_own >= 0
    points = []
    for threshold in _STEPS.tolist():
        counts = shapes.find_score >= threshold
        right, found = int((counts & is_right).sum()), int(counts.sum())
        points.append(
            ThresholdPoint(
                threshold=threshold,
                n_right=right,
                n_extra=found - right,
                n_missed=shapes.n_drawn - right,
                f1=2 * right / (found + shapes.n_drawn) if found + shapes.n_drawn else None,
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
