"""Figures of shapes found on images: counted at a threshold, with 95 % intervals by resampling images.

N is the number of images, M of drawn shapes, F of finds, K of classes, B of bootstrap samples.
"""

from dataclasses import dataclass, field

import numpy as np

from app.inference.array_types import Bools, Floats, Ints
from app.inference.bootstrap import Estimate, draw_weights, estimate, percentiles, ratio

_RECALLS = np.linspace(0.0, 1.0, 101)  # where the COCO evaluation reads precision
_MAX_RESAMPLED = 20_000_000  # finds times bootstrap samples; bounds the time of one interval
_MIN_SAMPLES = 100
_FIGURES = ("precision", "recall", "f1")


@dataclass(frozen=True, eq=False)
class FoundShapes:
    """All shapes of some images. Images and drawn shapes are named by their place in 0..N-1 and 0..M-1.

    Attributes:
        n_images: N.
        n_classes: K.
        drawn_image: (M,) the image of each drawn shape.
        drawn_class: (M,).
        find_image: (F,).
        find_class: (F,).
        find_score: (F,) in [0, 1].
        find_own: (F,) the drawn shape of its class that a find was matched with, -1: none.
        find_any: (F,) the same whatever the class.
    """

    n_images: int
    n_classes: int
    drawn_image: Ints
    drawn_class: Ints
    find_image: Ints
    find_class: Ints
    find_score: Floats
    find_own: Ints
    find_any: Ints
    memo: dict[str, Floats] = field(default_factory=dict, repr=False)

    @property
    def n_drawn(self) -> int:
        return len(self.drawn_class)

    def weights(self) -> Floats:
        """Return how often each bootstrap sample draws each image, (B, N), made once."""
        if "weights" not in self.memo:
            self.memo["weights"] = draw_weights(self.n_images)
        return self.memo["weights"]


@dataclass(frozen=True, eq=False)
class Shown:
    """What counts at a threshold: `finds` (F,), and which drawn shapes (M,) are found by one of their class, or any."""

    finds: Bools
    is_found: Bools
    is_hit: Bools


def shown_at(shapes: FoundShapes, threshold: float) -> Shown:
    finds = shapes.find_score >= threshold
    return Shown(finds, *(_matched(shapes, places[finds]) for places in (shapes.find_own, shapes.find_any)))


def _matched(shapes: FoundShapes, places: Ints) -> Bools:
    out = np.zeros(shapes.n_drawn, dtype=np.bool_)
    out[places[places >= 0]] = True
    return out


@dataclass(frozen=True)
class ClassCounts:
    """One class, or all together. A find is right where it was matched with a shape of its class."""

    n_drawn: int
    n_found: int
    n_right: int
    n_missed: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, eq=False)
class ShapeFigures:
    """A split at a threshold.

    `confusion[drawn][found]` (K + 1, K + 1) pairs shapes whatever their class; its last row is what was found where
    nothing is drawn, its last column what was missed. `n_wrong` counts images on which something is missed or found in
    excess; `clean` and `marked` hold (images, how many of them are called NG) without and with drawn shapes.
    """

    n_images: int
    total: ClassCounts
    classes: tuple[ClassCounts, ...]
    confusion: Ints
    n_wrong: int
    clean: tuple[int, int]
    marked: tuple[int, int]


def figures_at(shapes: FoundShapes, threshold: float) -> ShapeFigures:
    """Return all counts and figures of N images, one or more, at a threshold in [0, 1]."""
    shown = shown_at(shapes, threshold)
    counts = counts_by_image(shapes, threshold)
    is_ng, has_drawn = counts[:, :, :2].sum(axis=(1, 2)) > 0, counts[:, :, 2:].sum(axis=(1, 2)) > 0
    weights = shapes.weights()
    samples = (weights @ counts.reshape(shapes.n_images, -1)).reshape(len(weights), shapes.n_classes, 4)
    return ShapeFigures(
        n_images=shapes.n_images,
        total=_counts(counts.sum(axis=(0, 1)), samples.sum(axis=1)),
        classes=tuple(_counts(counts[:, k].sum(axis=0), samples[:, k]) for k in range(shapes.n_classes)),
        confusion=_confusion(shapes, shown),
        n_wrong=int(wrong_images(shapes, threshold).sum()),
        clean=(int((~has_drawn).sum()), int((is_ng & ~has_drawn).sum())),
        marked=(int(has_drawn.sum()), int((is_ng & has_drawn).sum())),
    )


def wrong_images(shapes: FoundShapes, threshold: float) -> Bools:
    """Return (N,): something is missed on the image, or found in excess."""
    shown = shown_at(shapes, threshold)
    out = np.zeros(shapes.n_images, dtype=np.bool_)
    out[shapes.find_image[shown.finds & (shapes.find_own < 0)]] = True
    out[shapes.drawn_image[~shown.is_found]] = True
    return out


def counts_by_image(shapes: FoundShapes, threshold: float) -> Ints:
    """Return (N, K, 4): finds that are right and that are extra, drawn shapes that are found and that are missed."""
    shown = shown_at(shapes, threshold)
    is_right = shown.finds & (shapes.find_own >= 0)
    parts = (
        (shapes.find_image, shapes.find_class, is_right),
        (shapes.find_image, shapes.find_class, shown.finds & ~is_right),
        (shapes.drawn_image, shapes.drawn_class, shown.is_found),
        (shapes.drawn_image, shapes.drawn_class, ~shown.is_found),
    )
    size = shapes.n_images * shapes.n_classes
    return np.stack(
        [
            np.bincount(image[chosen] * shapes.n_classes + label[chosen], minlength=size).reshape(
                shapes.n_images, shapes.n_classes
            )
            for image, label, chosen in parts
        ],
        axis=-1,
    )


def rates(counts: Floats | Ints) -> dict[str, Floats]:
    """Return precision, recall and F1 of counts (..., 4): right, extra, found, missed; NaN where undefined.

    Precision counts finds and recall drawn shapes: several finds may lie on one shape. F1 is their harmonic mean.
    """
    right, extra, found, missed = (counts[..., index] for index in range(4))
    n_finds, n_drawn = right + extra, found + missed
    precision, recall = ratio(right, n_finds), ratio(found, n_drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.asarray(2 * precision * recall / (precision + recall))
        # Nothing right: 0 where there was anything to find or anything found.
        f1 = np.where((right == 0) & (n_finds + n_drawn > 0), 0.0, f1)
    return {"precision": precision, "recall": recall, "f1": f1}


def _counts(counts: Ints, samples: Floats) -> ClassCounts:
    right, extra, found, missed = (int(value) for value in counts)
    n_of = {"precision": right + extra, "recall": found + missed, "f1": right + extra + missed}
    values, resampled = rates(counts), rates(samples)
    estimates = {name: _estimate(float(values[name]), resampled[name], n_of[name]) for name in _FIGURES}
    return ClassCounts(n_drawn=found + missed, n_found=right + extra, n_right=right, n_missed=missed, **estimates)


def _estimate(value: float, samples: Floats, n: int) -> Estimate:
    if np.isnan(value) or not np.isfinite(samples).any():
        return Estimate(None if np.isnan(value) else value)
    return estimate(value, samples, n)


def _confusion(shapes: FoundShapes, shown: Shown) -> Ints:
    background, size = shapes.n_classes, shapes.n_classes + 1
    drawn_as = np.append(shapes.drawn_class, background)  # place -1, no match, is background
    rows = np.concatenate([drawn_as[shapes.find_any[shown.finds]], shapes.drawn_class[~shown.is_hit]])
    n_missed = len(rows) - int(shown.finds.sum())
    columns = np.concatenate([shapes.find_class[shown.finds], np.full(n_missed, background)])
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)


def map50_interval(shapes: FoundShapes) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean average precision at an overlap of 0.5; None: too many finds, or nothing.

    The figure itself is the COCO evaluation's. The interval resamples images, with each find's match kept: the same 101
    recalls at which that evaluation reads precision.
    """
    drawn = np.bincount(shapes.drawn_class, minlength=shapes.n_classes)
    if not drawn.any():
        return None
    weights = shapes.weights()
    n_samples = min(len(weights), _MAX_RESAMPLED // max(1, len(shapes.find_score)))
    if n_samples < _MIN_SAMPLES:
        return None
    means = mean_ap50(shapes, weights[:n_samples])
    return percentiles(means[~np.isnan(means)])


def mean_ap50(shapes: FoundShapes, weights: Floats) -> Floats:
    """Return the mean average precision at an overlap of 0.5 of images drawn as often as `weights` (B, N) say, (B,).

    The mean of the classes that are drawn, as in the COCO evaluation; NaN where none is.
    """
    by_class = np.stack([_resampled_ap50(shapes, label, weights) for label in range(shapes.n_classes)])
    return ratio(np.nansum(by_class, axis=0), (~np.isnan(by_class)).sum(axis=0))


def average_precision50(shapes: FoundShapes, label: int) -> float:
    """Return the average precision of one class at an overlap of 0.5, NaN where nobody drew it."""
    return float(_resampled_ap50(shapes, label, np.ones((1, shapes.n_images)))[0])


def _resampled_ap50(shapes: FoundShapes, label: int, weights: Floats) -> Floats:
    mine = np.flatnonzero(shapes.find_class == label)
    mine = mine[np.argsort(-shapes.find_score[mine], kind="stable")]
    is_right = shapes.find_own[mine] >= 0
    n_drawn = weights[:, shapes.drawn_image[shapes.drawn_class == label]].sum(axis=1)
    out = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        if n_drawn[row] > 0:
            each = weight[shapes.find_image[mine]]
            right, found = np.cumsum(each * is_right), np.cumsum(each)
            precision = np.maximum.accumulate((right / np.maximum(found, 1e-12))[::-1])[::-1]
            places = np.searchsorted(right / n_drawn[row], _RECALLS - 1e-12)
            out[row] = np.append(precision, 0.0)[np.minimum(places, len(precision))].mean()
    return out
