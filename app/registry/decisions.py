"""Scores to answers, for many images at once: the engine's own rule, in the terms of a report."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contracts.bundle import BundleManifest
from app.inference.decision import decide_many

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


def decide(scores: Floats, manifest: BundleManifest, threshold: float) -> Answers:
    """Apply the bundle's decision rule to N images; `scores` are (N, K), `threshold` is in [0, 1]."""
    predicted, is_unsure = decide_many(scores, manifest.decision.kind, manifest.categories, threshold)
    return Answers(predicted, np.take_along_axis(scores, predicted[:, None], axis=1)[:, 0], is_unsure)


def ng_scores(scores: Floats, good: int) -> Floats:
    """Return how far each image is from good, 1 - score(good), in [0, 1]."""
    return 1.0 - scores[:, good]
