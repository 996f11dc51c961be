"""What a report says in numbers, each with its uncertainty.

K is the number of classes, N of images, B of bootstrap samples. A *grid* is (K, K + 1): row the labelled class, column
the predicted one, the last column for images that the model is unsure of.

Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval). Drawing N
images with replacement gives a grid that is multinomial, so grids are drawn, not images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.registry.decisions import Answers, Floats, Ints

N_BOOTSTRAP = 1000
_SEED = 20260501  # fixed: the same report says the same numbers each time
_TAIL = 0.025
_MAX_DRAWN = 3_000_000  # elements of one draw; bounds time and memory for large sets


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure in [0, 1] with its 95 % interval; all None where the images do not define it (a class is missing)."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure minus another, in [-1, 1], with its 95 % interval; None where one of them is not defined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against all others."""

    n_labelled: int
    n_predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """One split at one threshold.

    With a good class, precision, recall and F1 are those of finding defective parts, whichever defect it is called;
    without one, they are means over the classes that occur (macro average) among the images that got an answer.
    `accuracy` counts exact classes; `answered` is the share of images that got an answer.
    """

    n_images: int
    grid: NDArray[np.int64]
    f1: Estimate
    precision: Estimate
    recall: Estimate
    accuracy: Estimate
    answered: Estimate
    classes: tuple[ClassFigures, ...]


def grid_of(truth: Ints, answers: Answers, n_classes: int) -> NDArray[np.int64]:
    """Count images by labelled and predicted class, (K, K + 1). `truth` is (N,), every value in 0..K-1."""
    column = np.where(answers.is_unsure, n_classes, answers.predicted)
    flat = np.bincount(truth * (n_classes + 1) + column, minlength=n_classes * (n_classes + 1))
    return flat.reshape(n_classes, n_classes + 1)


def figures_of(grid: NDArray[np.int64], good: int | None) -> Figures:
    """Return all figures that follow from a grid, with intervals. See `Figures`."""
    n_images, n_classes = int(grid.sum()), len(grid)
    drawn = draw_grids(grid)
    values, samples = measures(grid, good), measures(drawn, good)
    n_of = _denominators(grid, good)
    head = {
        name: estimate(float(values[name]), samples[name], n_of[name])
        for name in ("f1", "precision", "recall", "accuracy", "answered")
    }
    per_class, per_class_samples = class_measures(grid), class_measures(drawn)
    classes = tuple(
        ClassFigures(
            n_labelled=int(grid[k].sum()),
            n_predicted=int(grid[:, k].sum()),
            **{
                name: estimate(float(per_class[name][k]), per_class_samples[name][:, k], int(per_class["n_" + name][k]))
                for name in ("precision", "recall", "f1")
            },
        )
        for k in range(n_classes)
    )
    return Figures(n_images=n_images, grid=grid, classes=classes, **head)


def draw_grids(grid: NDArray[np.int64], n_samples: int = N_BOOTSTRAP) -> NDArray[np.int64]:
    """Return B grids (B, ...) of as many images, drawn with replacement from the images of `grid`, of any shape."""
    total = int(grid.sum())
    n_samples = max(100, min(n_samples, _MAX_DRAWN // max(1, grid.size)))
    drawn = np.zeros((n_samples, grid.size), dtype=np.int64)
    filled = np.flatnonzero(grid)
    if total:
        rng = np.random.default_rng(_SEED)
        drawn[:, filled] = rng.multinomial(total, grid.ravel()[filled] / total, size=n_samples)
    return drawn.reshape(n_samples, *grid.shape)


def measures(grid: NDArray[np.int64], good: int | None) -> dict[str, Floats]:
    """Return F1, precision, recall, accuracy and the share answered of grids (..., K, K + 1); NaN where undefined."""
    answered = grid[..., :-1]
    n_answered, n_images = answered.sum(axis=(-2, -1)), grid.sum(axis=(-2, -1))
    right = np.trace(answered, axis1=-2, axis2=-1)
    out = {"accuracy": _ratio(right, n_answered), "answered": _ratio(n_answered, n_images)}
    if good is not None:
        false_alarms = answered[..., good, :].sum(axis=-1) - answered[..., good, good]
        missed = answered[..., :, good].sum(axis=-1) - answered[..., good, good]
        found = n_answered - answered[..., good, good] - false_alarms - missed
        return out | _precision_recall_f1(found, false_alarms, missed)
    each = class_measures(grid)
    occurs = answered.sum(axis=-1) > 0
    for name in ("precision", "recall", "f1"):
        # A class that is labelled but never predicted has found nothing: its precision counts as 0 in the mean.
        known = np.where(occurs, np.nan_to_num(each[name]), 0.0)
        out[name] = _ratio(known.sum(axis=-1), occurs.sum(axis=-1))
    return out


def class_measures(grid: NDArray[np.int64]) -> dict[str, Floats]:
    """Return precision, recall and F1 of each class, (..., K), and behind `n_` what each is a share of."""
    answered = grid[..., :-1]
    hits = np.diagonal(answered, axis1=-2, axis2=-1)
    wrongly = answered.sum(axis=-2) - hits
    missed = answered.sum(axis=-1) - hits
    return _precision_recall_f1(hits, wrongly, missed) | {
        "n_precision": hits + wrongly,
        "n_recall": hits + missed,
        "n_f1": hits + wrongly + missed,
    }


def estimate(value: float, samples: Floats, n: int) -> Estimate:
    """Return a figure with the percentile interval of its bootstrap `samples`, (B,), undefined ones left out.

    Where all `n` agree (no error was seen, or nothing but errors), every resample agrees too and the percentile
    interval would claim certainty; then the exact bound of a proportion takes its place.

    Source: C. Clopper and E. Pearson, The use of confidence or fiducial limits, Biometrika 26, 1934.
    """
    if np.isnan(value) or n == 0:
        return Estimate()
    if value >= 1.0:
        return Estimate(1.0, float(_TAIL ** (1 / n)), 1.0)
    if value <= 0.0:
        return Estimate(0.0, 0.0, float(1.0 - _TAIL ** (1 / n)))
    return Estimate(value, *_percentiles(samples))


def auroc_of(truth: Ints, scores: Floats, good: int | None) -> Estimate:
    """Return the area under the ROC curve with its interval.

    Args:
        truth: (N,) indices of classes.
        scores: (N, K).
        good: Defective against good by the NG score; None: the mean over classes, each against the rest.

    Source: T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006, sections 7 and 9.
    """
    sides = _auroc_sides(truth, scores, good)
    if not sides:
        return Estimate()
    weights = draw_weights(len(truth), n_elements=_MAX_DRAWN // len(sides))
    return estimate(_mean_area(sides)[0], _mean_area(sides, weights), _n_rarer(sides))


def auroc_pair(truth: Ints, first: Floats, second: Floats, good: int | None) -> tuple[Estimate, Estimate, Difference]:
    """Return the AUROC of two models on the same images, and the second minus the first with its paired interval."""
    sides_a, sides_b = _auroc_sides(truth, first, good), _auroc_sides(truth, second, good)
    if not sides_a:
        return Estimate(), Estimate(), Difference()
    weights = draw_weights(len(truth), n_elements=_MAX_DRAWN // len(sides_a))
    value_a, value_b = _mean_area(sides_a)[0], _mean_area(sides_b)[0]
    samples_a, samples_b = _mean_area(sides_a, weights), _mean_area(sides_b, weights)
    low, high = _percentiles(samples_b - samples_a)
    n = _n_rarer(sides_a)
    return estimate(value_a, samples_a, n), estimate(value_b, samples_b, n), Difference(value_b - value_a, low, high)


def _auroc_sides(truth: Ints, scores: Floats, good: int | None) -> list[tuple[NDArray[np.bool_], Floats]]:
    """Return (which images are positive, their score) of each ranking that the images define."""
    if good is not None:
        sides = [(truth != good, 1.0 - scores[:, good])]
    else:
        sides = [(truth == k, scores[:, k]) for k in range(scores.shape[1])]
    return [(positive, score) for positive, score in sides if 0 < positive.sum() < len(truth)]


def _mean_area(sides: list[tuple[NDArray[np.bool_], Floats]], weights: Floats | None = None) -> Floats:
    if weights is None:
        weights = np.ones((1, len(sides[0][1])))
    areas = np.stack([_ranked_area(positive, score, weights) for positive, score in sides])
    n_known = (~np.isnan(areas)).sum(axis=0)
    return _ratio(np.nan_to_num(areas).sum(axis=0), n_known)


def _n_rarer(sides: list[tuple[NDArray[np.bool_], Floats]]) -> int:
    return min(int(min(positive.sum(), (~positive).sum())) for positive, _ in sides)


def draw_weights(n_images: int, n_samples: int = N_BOOTSTRAP, n_elements: int = _MAX_DRAWN) -> Floats:
    """Return how often each image is drawn, (B, N): B samples of N images with replacement."""
    n_samples = max(100, min(n_samples, n_elements // max(1, n_images)))
    rng = np.random.default_rng(_SEED)
    picks = rng.integers(0, n_images, (n_samples, n_images))
    picks += np.arange(n_samples)[:, None] * n_images
    return np.bincount(picks.ravel(), minlength=n_samples * n_images).reshape(n_samples, n_images).astype(np.float64)


def _ranked_area(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """Return the share of (positive, negative) pairs in the right order, ties half, for each row of weights (B, N)."""
    order = np.argsort(score, kind="stable")
    _, starts = np.unique(score[order], return_index=True)
    ordered = weights[:, order]
    ups = np.add.reduceat(ordered * positive[order], starts, axis=1)
    downs = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs
    return _ratio((ups * (below + downs / 2)).sum(axis=1), ups.sum(axis=1) * downs.sum(axis=1))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images of about one score: their mean score and how many of them were right, with a 95 % interval."""

    mean_score: float
    share_right: float
    n: int
    low: float
    high: float


def reliability_of(truth: Ints, scores: Floats, n_bins: int = 10) -> tuple[tuple[ReliabilityBin, ...], float]:
    """Return the reliability diagram of the best class's score, and the expected calibration error.

    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599, equations 2, 3 and 5;
    intervals: E. Wilson, Probable inference, JASA 22, 1927.
    """
    best = scores.argmax(axis=1)
    score, right = scores.max(axis=1), best == truth
    place = np.minimum((score * n_bins).astype(np.int64), n_bins - 1)
    bins: list[ReliabilityBin] = []
    for index in np.unique(place):
        inside = place == index
        share, n = float(right[inside].mean()), int(inside.sum())
        bins.append(ReliabilityBin(float(score[inside].mean()), share, n, *wilson(share, n)))
    total = max(1, len(truth))
    return tuple(bins), float(sum(item.n / total * abs(item.share_right - item.mean_score) for item in bins))


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion seen in `n` trials."""
    z2 = 1.959964**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * (share * (1 - share) / n + z2 / (4 * n * n))) ** 0.5 / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def difference(
    joint: NDArray[np.int64], measure_first: Callable[..., Floats], measure_second: Callable[..., Floats]
) -> Difference:
    """Return second minus first with its paired interval.

    Args:
        joint: Images counted by what both models answered, any shape; resampled as one.
        measure_first: From counts like `joint` with a leading axis, (B, ...), to the first model's figure (B,).
        measure_second: The same for the second model.
    """
    value = float((measure_second(joint[None]) - measure_first(joint[None]))[0])
    if np.isnan(value):
        return Difference()
    drawn = draw_grids(joint)
    return Difference(value, *_percentiles(measure_second(drawn) - measure_first(drawn)))


def _percentiles(samples: Floats) -> tuple[float, float]:
    low, high = np.nanpercentile(samples, [100 * _TAIL, 100 * (1 - _TAIL)])
    return float(low), float(high)


def _precision_recall_f1(hits: Ints, wrongly: Ints, missed: Ints) -> dict[str, Floats]:
    return {
        "precision": _ratio(hits, hits + wrongly),
        "recall": _ratio(hits, hits + missed),
        "f1": _ratio(2 * hits, 2 * hits + wrongly + missed),
    }


def _denominators(grid: NDArray[np.int64], good: int | None) -> dict[str, int]:
    """Return of how many images each headline figure is a share."""
    n_images, n_answered = int(grid.sum()), int(grid[:, :-1].sum())
    if good is None:
        return {"f1": n_answered, "precision": n_answered, "recall": n_answered} | {
            "accuracy": n_answered,
            "answered": n_images,
        }
    n_bad = n_answered - int(grid[good, :-1].sum())
    n_called_bad = n_answered - int(grid[:, good].sum())
    either = n_answered - int(grid[good, good])
    return {"f1": either, "precision": n_called_bad, "recall": n_bad, "accuracy": n_answered, "answered": n_images}


def _ratio(top: Floats | Ints, bottom: Floats | Ints) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(top / np.asarray(bottom, dtype=np.float64))
