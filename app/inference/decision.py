"""From scores to an answer."""

from collections.abc import Sequence

import numpy as np

from app.contracts.bundle import DecisionRule
from app.contracts.dataset import CategoryRef
from app.contracts.predictions import ClassScores, Decision


def good_index(categories: Sequence[CategoryRef]) -> int | None:
    """Return the index of the class whose parts are OK, or None."""
    return next((index for index, category in enumerate(categories) if category.is_good), None)


def decide(
    scores: ClassScores, rule: DecisionRule, categories: Sequence[CategoryRef], *, threshold: float | None = None
) -> Decision:
    """Apply a decision rule to the scores of one image; `threshold` overrides the rule's own."""
    chosen, unsure = decide_many(np.asarray([scores.scores]), rule.kind, categories, threshold, default=rule.threshold)
    good, index = good_index(categories), int(chosen[0])
    ng_score = None if rule.kind != "ng" or good is None else min(1.0, max(0.0, 1.0 - scores.scores[good]))
    score = min(1.0, max(0.0, scores.scores[index]))
    return Decision(category_index=index, score=score, ng_score=ng_score, is_unsure=bool(unsure[0]))


def decide_many(
    scores: np.ndarray,
    kind: str,
    categories: Sequence[CategoryRef],
    threshold: float | None,
    *,
    default: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a decision rule to many images at once.

    Args:
        scores: (N, K), rows sum to 1.
        kind: `ng` or `confidence`, see `DecisionRule`.
        categories: The K classes.
        threshold: In [0, 1]; None takes `default`.
        default: The rule's own threshold.

    Returns:
        Class indices (N,) int64 and whether each is unsure (N,) bool.
    """
    limit = default if threshold is None else threshold
    best = scores.argmax(axis=1)
    good = good_index(categories)
    if kind != "ng" or good is None:
        return best, scores[np.arange(len(scores)), best] < limit
    others = scores.copy()
    others[:, good] = -1.0
    is_good = 1.0 - scores[:, good] < limit
    return np.where(is_good, good, others.argmax(axis=1)), np.zeros(len(scores), dtype=bool)
