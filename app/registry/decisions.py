"""Scores to answers, for many images at once: the same rule that a deployment applies to one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contracts.bundle import BundleManifest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model answers at one threshold; every array is (N,).

    `predicted` indexes the bundle's classes, `score` is that class's, `is_unsure` is never set where a good class
    exists.
    """

    predicted: Ints
    score: Floats
    is_unsure: Bools


def good_index(manifest: BundleManifest) -> int | None:
    """Return the place of the good class among the bundle's, or None where the rule knows none."""
    if manifest.decision.kind != "ng":
        return None
    return next((index for index, category in enumerate(manifest.categories) if category.is_good), None)


def decide(scores: Floats, good: int | None, threshold: float) -> Answers:
    """Apply the decision rule of `app.contracts.bundle.DecisionRule` to N images.

    Args:
        scores: Calibrated scores (N, K).
        good: Index of the good class; None: the best class wins and is unsure below `threshold`.
        threshold: In [0, 1].
    """
    if good is None:
        predicted = scores.argmax(axis=1)
        score = _at(scores, predicted)
        return Answers(predicted, score, score < threshold)
    others = scores.copy()
    others[:, good] = -1.0
    predicted = np.where(ng_scores(scores, good) < threshold, good, others.argmax(axis=1))
    return Answers(predicted, _at(scores, predicted), np.zeros(len(scores), dtype=np.bool_))


def ng_scores(scores: Floats, good: int) -> Floats:
    """Return how far each image is from good, 1 - score(good), in [0, 1]."""
    return 1.0 - scores[:, good]


def _at(scores: Floats, columns: Ints) -> Floats:
    return np.take_along_axis(scores, columns[:, None], axis=1)[:, 0]
