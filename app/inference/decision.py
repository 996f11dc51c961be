"""From scores to an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.contracts.bundle import BundleManifest, DecisionRule
from app.contracts.dataset import CategoryRef
from app.contracts.predictions import ClassScores, Decision, PredictedShape
from app.inference.array_types import Bools, Floats, Ints

OK, NG = 0, 1
"""What an image is where the model finds shapes: `Decision.category_index` and the order of its two scores."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model answers at one threshold; every array is (N,).

    `predicted` indexes the model's classes, `score` is that class's, `is_unsure` is never set where a good class
    exists.
    """

    predicted: Ints
    score: Floats
    is_unsure: Bools


def good_index(categories: Sequence[CategoryRef]) -> int | None:
    """Return the index of the class whose parts are OK, or None."""
    return next((index for index, category in enumerate(categories) if category.is_good), None)


def good_index_of(manifest: BundleManifest) -> int | None:
    """Return the index of the good class that the bundle's rule decides by, or None where it decides by confidence."""
    return good_index(manifest.categories) if manifest.decision.kind == "ng" else None


def ng_scores(scores: Floats, good: int) -> Floats:
    """Return how far each image is from good, 1 - score(good), in [0, 1]; `scores` are (N, K)."""
    return 1.0 - scores[:, good]


def decide(
    scores: ClassScores, rule: DecisionRule, categories: Sequence[CategoryRef], *, threshold: float | None = None
) -> Decision:
    """Apply a decision rule to the scores of one image; `threshold` overrides the rule's own."""
    limit = rule.threshold if threshold is None else threshold
    answers = decide_many(np.asarray([scores.scores]), rule.kind, categories, limit)
    good, index = good_index(categories), int(answers.predicted[0])
    ng_score = None if rule.kind != "ng" or good is None else min(1.0, max(0.0, 1.0 - scores.scores[good]))
    score = min(1.0, max(0.0, scores.scores[index]))
    return Decision(category_index=index, score=score, ng_score=ng_score, is_unsure=bool(answers.is_unsure[0]))


def answers_of(scores: Floats, manifest: BundleManifest, threshold: float | None = None) -> Answers:
    """Apply a bundle's rule to scores (N, K); `threshold`, in [0, 1], overrides the rule's own."""
    limit = manifest.decision.threshold if threshold is None else threshold
    return decide_many(scores, manifest.decision.kind, manifest.categories, limit)


def image_scores(shapes: Sequence[PredictedShape]) -> tuple[float, float]:
    """Return the scores of an image as a whole, for OK and NG: NG is the best find's, 0 without one."""
    best = max((shape.score for shape in shapes), default=0.0)
    return (1.0 - best, best)


def decide_shapes(shapes: Sequence[PredictedShape], threshold: float) -> Decision:
    """Call an image NG where a find reaches the threshold, in [0, 1]; the score is that of the answer."""
    ok, ng = image_scores(shapes)
    is_ng = ng >= threshold and bool(shapes)
    return Decision(category_index=NG if is_ng else OK, score=ng if is_ng else ok, ng_score=ng)


def decide_many(scores: Floats, kind: str, categories: Sequence[CategoryRef], threshold: float) -> Answers:
    """Apply a decision rule to many images at once.

    Args:
        scores: (N, K), rows sum to 1.
        kind: `ng` or `confidence`, see `DecisionRule`.
        categories: The K classes.
        threshold: In [0, 1].
    """
    rows = np.arange(len(scores))
    good = good_index(categories)
    if kind != "ng" or good is None:
        best = scores.argmax(axis=1)
        return Answers(best, scores[rows, best], scores[rows, best] < threshold)
    others = scores.copy()
    others[:, good] = -1.0
    predicted = np.where(ng_scores(scores, good) < threshold, good, others.argmax(axis=1))
    return Answers(predicted, scores[rows, predicted], np.zeros(len(scores), dtype=np.bool_))
