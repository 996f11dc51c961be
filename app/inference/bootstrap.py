"""Figures with their uncertainty: 95 % intervals by resampling, of one model or of the difference of two.

B is the number of bootstrap samples, N of images.

Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval). Drawing N
images with replacement gives counts that are multinomial, so counts are drawn where they are enough, not images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.inference.array_types import Floats, Ints

N_BOOTSTRAP = 1000
MAX_DRAWN = 3_000_000  # elements of one draw; bounds time and memory for large sets
_MIN_BOOTSTRAP = 100
_SEED = 20260501  # fixed: the same predictions say the same numbers each time, in every process
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure in [0, 1] with its 95 % interval; all None where the images do not define it (a class is missing)."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure minus another, in [-1, 1], with its 95 % interval; None where one of them is not defined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


def estimate(value: float, samples: Floats, n: int) -> Estimate:
    """Return a figure with the percentile interval of its bootstrap `samples`, (B,), undefined ones left out.

    Where all `n` agree (no error was seen, or nothing but errors), every resample agrees too and the percentile
    interval would claim certainty; then the exact bound of a proportion takes its place.

    Source: C. Clopper and E. Pearson, The use of confidence or fiducial limits, Biometrika 26, 1934.
    """
    if np.isnan(value) or n == 0:
        return Estimate()
    if value >= 1.0:
        return Estimate(1.0, float(_TAIL ** (1 / n)), 1.0)
    if value <= 0.0:
        return Estimate(0.0, 0.0, float(1.0 - _TAIL ** (1 / n)))
    return Estimate(value, *percentiles(samples))


def difference(joint: Ints, measure_first: Callable[..., Floats], measure_second: Callable[..., Floats]) -> Difference:
    """Return second minus first with its paired interval.

    Args:
        joint: Images counted by what both models answered, any shape; resampled as one.
        measure_first: From counts like `joint` with a leading axis, (B, ...), to the first model's figure (B,).
        measure_second: The same for the second model.
    """
    value = float((measure_second(joint[None]) - measure_first(joint[None]))[0])
    if np.isnan(value):
        return Difference()
    drawn = draw_counts(joint)
    return Difference(value, *percentiles(measure_second(drawn) - measure_first(drawn)))


def draw_counts(counts: Ints, n_samples: int = N_BOOTSTRAP) -> Ints:
    """Return (B, ...) counts of as many images, drawn with replacement from those that `counts`, of any shape, counts.

    B is `n_samples`, fewer where that would be too many numbers, never below 100.
    """
    total = int(counts.sum())
    n_samples = max(_MIN_BOOTSTRAP, min(n_samples, MAX_DRAWN // max(1, counts.size)))
    drawn = np.zeros((n_samples, counts.size), dtype=np.int64)
    filled = np.flatnonzero(counts)
    if total:
        rng = np.random.default_rng(_SEED)
        drawn[:, filled] = rng.multinomial(total, counts.ravel()[filled] / total, size=n_samples)
    return drawn.reshape(n_samples, *counts.shape)


def draw_weights(n_images: int, n_samples: int = N_BOOTSTRAP, n_elements: int = MAX_DRAWN) -> Floats:
    """Return how often each image is drawn, (B, N): B samples of N images with replacement; B as in `draw_counts`."""
    n_samples = max(_MIN_BOOTSTRAP, min(n_samples, n_elements // max(1, n_images)))
    rng = np.random.default_rng(_SEED)
    picks = rng.integers(0, n_images, (n_samples, n_images))
    picks += np.arange(n_samples)[:, None] * n_images
    return np.bincount(picks.ravel(), minlength=n_samples * n_images).reshape(n_samples, n_images).astype(np.float64)


def percentiles(samples: Floats) -> tuple[float, float]:
    """Return the bounds of the middle 95 % of samples (B,), undefined ones left out."""
    low, high = np.nanpercentile(samples, [100 * _TAIL, 100 * (1 - _TAIL)])
    return float(low), float(high)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion seen in `n` trials.

    Source: E. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    z2 = 1.959964**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * (share * (1 - share) / n + z2 / (4 * n * n))) ** 0.5 / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def ratio(top: Floats | Ints, bottom: Floats | Ints) -> Floats:
    """Return `top / bottom`, NaN for 0 / 0: a share of nothing is not known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(top / np.asarray(bottom, dtype=np.float64))
