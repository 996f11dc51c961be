"""How well scores put images in order, whatever the threshold. N is the number of images, K of classes.

Source: T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006, sections 7 and 9. The area is
counted as the share of (positive, negative) pairs in the right order, ties half (Hanley and McNeil, Radiology 143,
1982).
"""

import numpy as np

from app.inference.array_types import Bools, Floats, Ints
from app.inference.bootstrap import MAX_DRAWN, Difference, Estimate, draw_weights, estimate, percentiles, ratio

_Side = tuple[Bools, Floats]  # which images are positive, (N,), and the score that should rank them high, (N,)


def auroc(truth: Ints, scores: Floats, good: int | None = None, weights: Floats | None = None) -> Floats:
    """Return the area under the ROC curve of each row of `weights`, (B,); NaN where only one side was drawn.

    Args:
        truth: (N,) indices of classes.
        scores: (N, K), higher is likelier; of any range where `good` is None, else they sum to 1.
        good: Defective against good by the NG score. None: the second class against the first where there are just
            two, else the mean over the classes that the images define, each against the rest.
        weights: How often each image counts, (B, N); None: each once.
    """
    if weights is None:
        weights = np.ones((1, len(truth)))
    sides = _sides(truth, scores, good)
    return _mean_area(sides, weights) if sides else np.full(len(weights), np.nan)


def auroc_of(truth: Ints, scores: Floats, good: int | None) -> Estimate:
    """Return the area under the ROC curve with its interval; see `auroc`. The order of the images does not matter."""
    return _estimates(truth, [scores], good)[0][0]


def auroc_pair(truth: Ints, first: Floats, second: Floats, good: int | None) -> tuple[Estimate, Estimate, Difference]:
    """Return the AUROC of two models on the same images, and the second minus the first with its paired interval."""
    (one, other), values, samples = _estimates(truth, [first, second], good)
    if one.value is None:
        return one, other, Difference()
    low, high = percentiles(samples[1] - samples[0])
    return one, other, Difference(float(values[1] - values[0]), low, high)


def _estimates(truth: Ints, models: list[Floats], good: int | None) -> tuple[list[Estimate], list[float], list[Floats]]:
    """Return estimate, value and bootstrap samples of each model, from the same draws."""
    # Draws name images by their place. Sorted by what they hold, the same images always get the same draws.
    order = np.lexsort((*(column for scores in models for column in scores.T), truth))
    truth, models = truth[order], [scores[order] for scores in models]
    sides = [_sides(truth, scores, good) for scores in models]
    if not sides[0]:
        return [Estimate() for _ in models], [], []
    weights = draw_weights(len(truth), n_elements=MAX_DRAWN // len(sides[0]))
    once = np.ones((1, len(truth)))
    values = [float(_mean_area(one, once)[0]) for one in sides]
    samples = [_mean_area(one, weights) for one in sides]
    n = min(int(min(positive.sum(), (~positive).sum())) for positive, _ in sides[0])  # images of the rarest side
    return [estimate(value, drawn, n) for value, drawn in zip(values, samples, strict=True)], values, samples


def _sides(truth: Ints, scores: Floats, good: int | None) -> list[_Side]:
    """Return the rankings that the images define: those with both a positive and a negative."""
    if good is not None:
        sides = [(truth != good, 1.0 - scores[:, good])]
    elif scores.shape[1] == 2:  # the first against the second is the same ranking, read backwards
        sides = [(truth == 1, scores[:, 1])]
    else:
        sides = [(truth == k, scores[:, k]) for k in range(scores.shape[1])]
    return [(positive, score) for positive, score in sides if 0 < positive.sum() < len(truth)]


def _mean_area(sides: list[_Side], weights: Floats) -> Floats:
    areas = np.stack([_ranked_area(positive, score, weights) for positive, score in sides])
    n_known = (~np.isnan(areas)).sum(axis=0)
    return ratio(np.nan_to_num(areas).sum(axis=0), n_known)


def _ranked_area(positive: Bools, score: Floats, weights: Floats) -> Floats:
    """Return the share of pairs in the right order, ties half, for each row of weights (B, N)."""
    order = np.argsort(score, kind="stable")
    _, starts = np.unique(score[order], return_index=True)
    ordered = weights[:, order]
    ups = np.add.reduceat(ordered * positive[order], starts, axis=1)
    downs = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs
    return ratio((ups * (below + downs / 2)).sum(axis=1), ups.sum(axis=1) * downs.sum(axis=1))
