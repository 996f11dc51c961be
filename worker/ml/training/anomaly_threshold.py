"""Where a raw anomaly score is called abnormal, and the sentence that says why. N is the number of images."""

from dataclasses import dataclass

import numpy as np

from app.inference.threshold import best_f1_threshold

FALSE_ALARMS = 0.05
_MIN_ABNORMAL = 3
_MIN_GOOD = 3
_ABOVE = 1.02


@dataclass(frozen=True)
class RawThreshold:
    """`value`, above 0, in the unit of the raw scores, and `reason`, one sentence for people."""

    value: float
    reason: str


def choose_threshold(good: np.ndarray, abnormal: np.ndarray) -> RawThreshold:
    """Choose by a few abnormal images, or without them by how many good ones may be called abnormal.

    Without abnormal images it is the smallest score below which a new good image stays with a probability of 95 %,
    whatever the distribution of scores; with fewer than 19 good images that cannot be promised, and the highest score
    among them is taken, which a new one passes with a probability of 1 / (N + 1).

    Args:
        good: Raw scores (N,) of good images that the memory does not hold, N at least 1.
        abnormal: Raw scores of abnormal images, of any number.

    Source: V. Vovk et al., Algorithmic Learning in a Random World, 2005, chapter 2 (split conformal prediction).
    """
    if len(abnormal) >= _MIN_ABNORMAL and len(good) >= _MIN_GOOD:
        return _of_best_f1(good, abnormal)
    n = len(good)
    rank = min(n, int(np.ceil((n + 1) * (1.0 - FALSE_ALARMS))))
    share = 1.0 - rank / (n + 1)
    ordered = np.sort(good)
    # Half way to the next score, or a little above the last: at a score itself, rounding would decide.
    limit = float(ordered[rank - 1 : rank + 1].mean()) if rank < n else float(ordered[-1]) * _ABOVE
    reason = (
        f"From good images alone: about {100 * share:.0f} % of good images are called abnormal, by the scores of "
        f"{n:,} that were held out. A few abnormal images in the dev split let it be chosen by what it finds."
    )
    return RawThreshold(_positive(limit), reason)


def _of_best_f1(good: np.ndarray, abnormal: np.ndarray) -> RawThreshold:
    raw = np.r_[good, abnormal].astype(np.float64)
    middle = _positive(float(np.median(raw)))
    is_ng = np.arange(len(raw)) >= len(good)
    # Abnormal images of the train split count here as well, so that good ones are fewer than anywhere else.
    weight = max(1.0, len(abnormal) / len(good))
    share, f1 = best_f1_threshold(is_ng, raw / (raw + middle), good_weight=weight)
    share = min(max(share, 1e-6), 1.0 - 1e-6)
    reason = (
        f"Highest F1 of finding abnormal parts on {len(abnormal):,} abnormal and {len(good):,} good images that the "
        f"model did not learn from{', each kind counting the same' if weight > 1.0 else ''}: {f1:.3f}."
    )
    return RawThreshold(_positive(middle * share / (1.0 - share)), reason)


def _positive(value: float) -> float:
    """A memory that holds every good patch exactly gives scores of 0; the threshold must still be above them."""
    return max(value, 1e-6)
