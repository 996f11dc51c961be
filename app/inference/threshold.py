"""The default threshold of a model, and the sentence that says why it is the default."""

from collections.abc import Sequence

import numpy as np

from app.contracts.bundle import DecisionRule
from app.contracts.dataset import CategoryRef
from app.inference.array_types import Bools, Floats, Ints
from app.inference.decision import good_index, ng_scores
from app.inference.metrics import precision_recall_f1

_UNSURE_SHARE = 0.05
_MOST_UNSURE = 0.5
_MIN_IMAGES = 20
_MIN_EACH = 5
_MIN_GAP = 1e-6  # scores are served in f32: a cut between closer ones would fall on either side of them


def choose_rule(truth: Ints, scores: Floats, categories: Sequence[CategoryRef], *, measured_on: str) -> DecisionRule:
    """Choose the default threshold from images that the model was not fitted on.

    With a good class: the threshold of the highest F1 of finding defects, the one that reports show, see
    `best_f1_threshold`; 0.5 where there are fewer than five images of either side. Without: the score below which the
    5 % least sure answers lie, but no more than 0.5; 0 where there are fewer than 20 images.

    Args:
        truth: True class indices (N,).
        scores: Calibrated scores (N, K).
        categories: The K classes.
        measured_on: For the sentence, for example `the dev images`.
    """
    good = good_index(categories)
    if good is None:
        return _confidence_rule(scores.max(axis=1, initial=0.0), measured_on)
    is_ng = truth != good
    if min(int(is_ng.sum()), int((~is_ng).sum())) < _MIN_EACH:
        reason = (
            "In the middle: there are too few labelled images to choose by. Label more of both kinds and train again."
        )
        return DecisionRule(kind="ng", threshold=0.5, reason=reason)
    limit, f1 = best_f1_threshold(is_ng, ng_scores(scores, good))
    reason = f"Highest F1 of finding defects on {measured_on}: {f1:.3f}, from {len(truth):,} images."
    return DecisionRule(kind="ng", threshold=limit, reason=reason)


def _confidence_rule(best: Floats, measured_on: str) -> DecisionRule:
    """Choose by the score of each answer, (N,). A score above one half is never called unsure: it beats all others."""
    if len(best) < _MIN_IMAGES:
        reason = (
            "Every image gets an answer: there are too few labelled images to choose by. Label more and train again."
        )
        return DecisionRule(kind="confidence", threshold=0.0, reason=reason)
    limit = min(float(np.quantile(best, _UNSURE_SHARE)), _MOST_UNSURE)
    n_unsure = int((best < limit).sum())
    reason = f"The least sure answers are left to a person: {n_unsure:,} of {len(best):,}, measured on {measured_on}."
    return DecisionRule(kind="confidence", threshold=limit, reason=reason)


def best_f1_threshold(is_ng: Bools, ng_score: Floats, *, good_weight: float = 1.0) -> tuple[float, float]:
    """Return the threshold of the highest F1 of finding defects, and that F1.

    Only the order of the scores matters to F1, so every cut between neighbouring ones is tried; the threshold lies in
    the middle of the gap, as far from both neighbours as can be. Of cuts with the same F1 the one that misses fewer
    defects wins, which is the lowest: a missed defect leaves the line, a false alarm is looked at again. F1 is not
    smoothed: the report shows just this number on these images, with the interval that says how few they are.

    Args:
        is_ng: Which images (N,) are defective; some are.
        ng_score: (N,) in [0, 1]. At or above the threshold an image is called defective.
        good_weight: How many images each good one stands for, where they are rarer here than on the line.
    """
    order = np.argsort(-ng_score, kind="stable")
    score, label = ng_score[order], is_ng[order].astype(np.int64)
    called = np.arange(len(label) + 1)
    hits = np.r_[0, np.cumsum(label)]
    f1 = precision_recall_f1(hits, good_weight * (called - hits), label.sum() - hits)["f1"]
    upper, lower = np.r_[1.0, score], np.r_[score, 0.0]
    f1[upper - lower <= _MIN_GAP] = -1.0
    cut = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return float((upper[cut] + lower[cut]) / 2), float(f1[cut])
