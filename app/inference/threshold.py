"""The default threshold of a model, and the sentence that says why it is the default."""

from collections.abc import Sequence

import numpy as np

from app.contracts.bundle import DecisionRule
from app.contracts.dataset import CategoryRef
from app.inference.decision import good_index

_UNSURE_SHARE = 0.05
_MIN_EACH = 5


def choose_rule(
    truth: np.ndarray, scores: np.ndarray, categories: Sequence[CategoryRef], *, measured_on: str
) -> DecisionRule:
    """Choose the threshold that separates best what was measured.

    With a good class: the one with the highest F1, averaged over good and not good, in the middle of the widest gap
    between scores that reaches it. Without: the confidence below which the 5 % least sure answers lie.

    Args:
        truth: True class indices (N,).
        scores: Calibrated scores (N, K).
        categories: The K classes.
        measured_on: For the sentence, for example `the dev images`.
    """
    good = good_index(categories)
    if good is None:
        limit = float(np.quantile(scores.max(axis=1), _UNSURE_SHARE)) if len(truth) >= 20 else 0.0
        limit = min(limit, 0.5)
        reason = f"Answers surer than {limit:.2f} were the surest 95 % of {measured_on}." if limit else _TOO_FEW
        return DecisionRule(kind="confidence", threshold=limit, reason=reason)
    is_ng = truth != good
    if min(int(is_ng.sum()), int((~is_ng).sum())) < _MIN_EACH:
        return DecisionRule(kind="ng", threshold=0.5, reason=_TOO_FEW)
    limit, f1 = best_f1_threshold(is_ng, 1.0 - scores[:, good])
    reason = f"Highest F1 on {measured_on}: {f1:.3f}, averaged over good and not good, from {len(truth):,} images."
    return DecisionRule(kind="ng", threshold=limit, reason=reason)


_TOO_FEW = "There are too few labelled images to choose by; label more of both kinds and train again."


def best_f1_threshold(is_ng: np.ndarray, ng_score: np.ndarray) -> tuple[float, float]:
    """Return the threshold of the highest macro F1 and that F1. At or above the threshold an image is not good."""
    order = np.argsort(-ng_score, kind="stable")
    score, label = ng_score[order], is_ng[order].astype(np.float64)
    n, n_ng = len(label), label.sum()
    called = np.arange(n + 1)
    hits = np.r_[0.0, np.cumsum(label)]
    right_good = (n - n_ng) - (called - hits)
    f1 = (2 * hits / (called + n_ng) + 2 * right_good / ((n - called) + (n - n_ng))) / 2
    upper, lower = np.r_[1.0, score], np.r_[score, 0.0]
    f1[upper - lower <= 0] = -1.0  # a cut between equal scores does not exist
    best = f1.max()
    near = np.flatnonzero(f1 >= best - 1e-9)
    cut = near[np.argmax((upper - lower)[near])]
    return float((upper[cut] + lower[cut]) / 2), float(best)
