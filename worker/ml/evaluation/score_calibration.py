"""Scores of finds that mean something: of those with score 0.7, about seven in ten are right.

A detector's raw scores order its finds well and use a scale of their own: after a short training all of them may lie
near the prior. A monotone map on the logits makes them readable and changes no order, so no average precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.ml.evaluation.coco import Boxed, match

_MIN_EACH = 5  # finds that are right, and that are not
_MIN_SLOPE = 0.05  # below 0 the order would turn round
_N_STEPS = 50
_DAMPING = 1e-6
_ENOUGH = 1e-9


@dataclass(frozen=True)
class ScoreMap:
    """score = sigmoid(slope * logit + shift), slope above 0."""

    slope: float = 1.0
    shift: float = 0.0


def fit_score_map(truth: Sequence[Boxed], finds: Sequence[Boxed], n_categories: int) -> ScoreMap | None:
    """Return the map under which a score is the share of right finds; None where too few are right, or wrong.

    Args:
        truth: What people drew, by image.
        finds: What was found with raw scores in [0, 1], down to where hardly any is right.
        n_categories: K.
    """
    pairs = [pair for pair in match(truth, finds, n_categories, by_category=True) if pair.find is not None]
    raw = np.array([finds[pair.image].scores[pair.find] for pair in pairs], dtype=np.float64)  # type: ignore[index]
    is_right = np.array([pair.truth is not None for pair in pairs], dtype=bool)
    n_right = int(is_right.sum())
    if min(n_right, len(pairs) - n_right) < _MIN_EACH:
        return None
    clipped = raw.clip(1e-7, 1 - 1e-7)
    return _platt(np.log(clipped / (1 - clipped)), is_right)


def _platt(logit: np.ndarray, is_right: np.ndarray) -> ScoreMap:
    """Fit by Newton steps that are halved until they gain.

    The targets are drawn in by what a sample of this size cannot tell from certainty, which keeps the slope finite
    where right and wrong are apart.

    Source: Platt, Probabilistic Outputs for Support Vector Machines, 1999, section 2; Lin, Lin and Weng, A Note on
    Platt's Probabilistic Outputs, Machine Learning 68 (2007), appendix 3.
    """
    n_right, n_wrong = int(is_right.sum()), int((~is_right).sum())
    target = np.where(is_right, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))
    centre, width = logit.mean(), max(1e-6, logit.std())
    columns = np.stack([(logit - centre) / width, np.ones_like(logit)], axis=1)
    weights = np.array([1.0, np.log((n_right + 1) / (n_wrong + 1))])

    def loss(values: np.ndarray) -> float:
        return float((np.logaddexp(0, columns @ values) - target * (columns @ values)).sum())

    now = loss(weights)
    for _ in range(_N_STEPS):
        score = 1 / (1 + np.exp(-columns @ weights))
        gradient = columns.T @ (score - target)
        curvature = (columns.T * (score * (1 - score))) @ columns + _DAMPING * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (then := loss(weights - step)) > now and np.abs(step).max() > _ENOUGH:
            step /= 2
        weights, gain, now = weights - step, now - then, then
        if gain < _ENOUGH * max(1.0, abs(now)):
            break
    slope = max(_MIN_SLOPE, float(weights[0] / width))
    return ScoreMap(slope, float(weights[1] - slope * centre))
