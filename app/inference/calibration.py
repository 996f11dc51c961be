"""Do scores mean what they say? N is the number of images, K of classes."""

from dataclasses import dataclass

import numpy as np

from app.inference.array_types import Bools, Floats, Ints
from app.inference.bootstrap import wilson


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images of about one score: their mean score and how many of them were right, with a 95 % interval."""

    mean_score: float
    share_right: float
    n: int
    low: float
    high: float


def reliability_of(truth: Ints, scores: Floats, n_bins: int = 10) -> tuple[tuple[ReliabilityBin, ...], float | None]:
    """Return the reliability diagram of the best class's score, and the expected calibration error (None: no image).

    Args:
        truth: (N,) indices of classes.
        scores: (N, K).
        n_bins: Equal parts of [0, 1]; empty ones are left out.

    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599, equations 2, 3 and 5.
    """
    if not len(truth):
        return (), None
    return reliability_bins(scores.max(axis=1), scores.argmax(axis=1) == truth, n_bins)


def reliability_bins(score: Floats, right: Bools, n_bins: int = 10) -> tuple[tuple[ReliabilityBin, ...], float | None]:
    """Return the diagram and the error of answers with these scores, (N,) each; see `reliability_of`."""
    if not len(score):
        return (), None
    place = np.minimum((score * n_bins).astype(np.int64), n_bins - 1)
    bins: list[ReliabilityBin] = []
    for index in np.unique(place):
        inside = place == index
        share, n = float(right[inside].mean()), int(inside.sum())
        bins.append(ReliabilityBin(float(score[inside].mean()), share, n, *wilson(share, n)))
    return tuple(bins), float(sum(item.n / len(score) * abs(item.share_right - item.mean_score) for item in bins))
