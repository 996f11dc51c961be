"""Metrics of classification with bootstrap intervals. NumPy only: the web process computes them for every threshold.

N is the number of images, K the number of classes, R the number of bootstrap draws. What cannot be computed (no images,
only one class present) is None, never an exception and never a made-up zero.

Source: precision, recall and F1 as in van Rijsbergen, Information Retrieval, 1979, ch. 7, with 0 / 0 = 0 for a class
that is present; AUROC as the Mann-Whitney statistic (Hanley & McNeil 1982); ECE with equal-width bins (Guo et al.,
ICML 2017, arXiv:1706.04599); percentile bootstrap (Efron & Tibshirani 1993, ch. 13).
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

DEFAULT_DRAWS = 1000
FAST_DRAWS = 200
_ECE_BINS = 15


class Estimate(BaseModel):
    """A metric and its 95 % bootstrap interval; all None where the data does not define it."""

    model_config = ConfigDict(frozen=True)

    value: float | None = None
    low: float | None = None
    high: float | None = None


class CategoryMetrics(BaseModel):
    """One class against the rest. `n` is the number of images that truly belong to it."""

    model_config = ConfigDict(frozen=True)

    category_id: int
    n: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


class SplitMetrics(BaseModel):
    """What one split says of a model at one threshold.

    `precision`, `recall` and `f1` are means over the classes present; `auroc` is of the NG score where a class is
    marked good, of the second class where there are just two, else the mean over the classes of one against the rest.
    `confusion[i][j]` counts images of class i that were called class j.
    """

    model_config = ConfigDict(frozen=True)

    n: int
    n_correct: int
    n_unsure: int
    accuracy: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auroc: Estimate
    ece: float | None
    categories: tuple[CategoryMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]


def confusion_matrix(truth: np.ndarray, called: np.ndarray, n_categories: int) -> np.ndarray:
    """Return counts (K, K): rows are true classes, columns are answers."""
    flat = np.bincount(truth * n_categories + called, minlength=n_categories**2)
    return flat.reshape(n_categories, n_categories)


def auroc(is_positive: np.ndarray, score: np.ndarray) -> float | None:
    """Return the chance that a positive scores above a negative, ties counting half; None with one kind only."""
    n_positive = int(is_positive.sum())
    n_negative = len(is_positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return None
    _, group, counts = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = float(mean_rank[group[is_positive]].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)


def expected_calibration_error(truth: np.ndarray, scores: np.ndarray, *, n_bins: int = _ECE_BINS) -> float | None:
    """Return the mean gap between how sure the best class is and how often it is right, over equal-width bins."""
    if len(truth) == 0:
        return None
    confidence = scores.max(axis=1)
    is_right = scores.argmax(axis=1) == truth
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gap = np.bincount(bins, confidence - is_right, minlength=n_bins)
    return float(np.abs(gap).sum() / len(truth))


def evaluate(
    truth: np.ndarray,
    scores: np.ndarray,
    called: np.ndarray,
    *,
    category_ids: Sequence[int],
    positive_score: np.ndarray | None = None,
    is_positive: np.ndarray | None = None,
    n_unsure: int = 0,
    n_draws: int = DEFAULT_DRAWS,
    seed: int = 0,
) -> SplitMetrics:
    """Return all metrics of one split.

    Args:
        truth: True class indices (N,).
        scores: Calibrated scores (N, K).
        called: Answers after the decision rule, class indices (N,).
        category_ids: Ids of the K classes, in order.
        positive_score: Score (N,) that AUROC ranks by; None: mean over classes of one against the rest.
        is_positive: Which images (N,) `positive_score` should rank high.
        n_unsure: How many answers were below a confidence threshold.
        n_draws: Bootstrap draws; fewer are faster and give rougher intervals.
        seed: The same seed gives the same intervals.
    """
    n, k = len(truth), len(category_ids)
    confusion = confusion_matrix(truth, called, k)
    point = _from_confusion(confusion[None].astype(np.float64))
    weights = _draws(n, n_draws, seed)
    draws = _from_confusion(_confusions(truth, called, weights, k))
    return SplitMetrics(
        n=n,
        n_correct=int(np.trace(confusion)),
        n_unsure=n_unsure,
        accuracy=_estimate(point["accuracy"], draws["accuracy"]),
        precision=_estimate(_macro(point["precision"]), _macro(draws["precision"])),
        recall=_estimate(_macro(point["recall"]), _macro(draws["recall"])),
        f1=_estimate(_macro(point["f1"]), _macro(draws["f1"])),
        auroc=_auroc_estimate(truth, scores, positive_score, is_positive, weights),
        ece=expected_calibration_error(truth, scores),
        categories=tuple(
            CategoryMetrics(
                category_id=category_id,
                n=int(confusion[index].sum()),
                precision=_estimate(point["precision"][:, index], draws["precision"][:, index]),
                recall=_estimate(point["recall"][:, index], draws["recall"][:, index]),
                f1=_estimate(point["f1"][:, index], draws["f1"][:, index]),
            )
            for index, category_id in enumerate(category_ids)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _draws(n: int, n_draws: int, seed: int) -> np.ndarray:
    """Return how often each image was drawn, (R, N) float32: a bootstrap without ever copying the images."""
    if n == 0 or n_draws == 0:
        return np.zeros((0, n), dtype=np.float32)
    picks = np.random.default_rng(seed).integers(0, n, size=(n_draws, n), dtype=np.int32)
    picks += (np.arange(n_draws, dtype=np.int32) * n)[:, None]
    return np.bincount(picks.ravel(), minlength=n_draws * n).reshape(n_draws, n).astype(np.float32)


def _confusions(truth: np.ndarray, called: np.ndarray, weights: np.ndarray, k: int) -> np.ndarray:
    """Return the confusion matrix of each draw (R, K, K); only cells that occur are summed."""
    flat = truth * k + called
    result = np.zeros((len(weights), k * k))
    cells, columns = np.unique(flat, return_inverse=True)
    if len(cells):
        one_hot = np.zeros((len(flat), len(cells)), dtype=np.float32)
        one_hot[np.arange(len(flat)), columns] = 1.0
        result[:, cells] = weights @ one_hot
    return result.reshape(len(weights), k, k)


def _from_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return metrics of matrices (R, K, K): accuracy (R,), the others (R, K), NaN where undefined."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    n_true, n_called, n = confusion.sum(axis=2), confusion.sum(axis=1), confusion.sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(n_called > 0, hits / n_called, np.where(n_true > 0, 0.0, np.nan))
        recall = hits / n_true
        f1 = np.where(n_true + n_called > 0, 2 * hits / (n_true + n_called), np.nan)
        accuracy = hits.sum(axis=1) / n
    return {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}


def _macro(per_category: np.ndarray) -> np.ndarray:
    """Return the mean over the classes for which a metric is defined, NaN where there is none."""
    defined = ~np.isnan(per_category)
    with np.errstate(invalid="ignore"):
        return np.where(defined, per_category, 0.0).sum(axis=-1) / np.where(defined.any(-1), defined.sum(-1), np.nan)


def _auroc_estimate(
    truth: np.ndarray,
    scores: np.ndarray,
    positive_score: np.ndarray | None,
    is_positive: np.ndarray | None,
    weights: np.ndarray,
) -> Estimate:
    if positive_score is not None and is_positive is not None:
        pairs = [(is_positive, positive_score)]
    elif scores.shape[1] == 2:
        pairs = [(truth == 1, scores[:, 1])]
    else:
        pairs = [(truth == index, scores[:, index]) for index in range(scores.shape[1])]
    points = np.array([[np.nan if (value := auroc(*pair)) is None else value for pair in pairs]])
    draws = np.stack([_weighted_auroc(*pair, weights) for pair in pairs], axis=1)
    return _estimate(_macro(points), _macro(draws))


def _weighted_auroc(is_positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the AUROC of each draw (R,), NaN where a draw holds only one kind."""
    order = np.argsort(score, kind="stable")
    ordered = weights[:, order]
    positive = ordered * is_positive[order].astype(np.float32)
    negative = ordered - positive
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0]) if len(score) else np.zeros(0, dtype=int)
    if len(starts) and len(starts) < len(score):  # ties count half
        positive, negative = np.add.reduceat(positive, starts, axis=1), np.add.reduceat(negative, starts, axis=1)
    below = np.cumsum(negative, axis=1, dtype=np.float64) - negative
    wins = np.einsum("ij,ij->i", positive, below + 0.5 * negative) if len(score) else np.zeros(len(weights))
    total = positive.sum(axis=1, dtype=np.float64) * negative.sum(axis=1, dtype=np.float64)
    return np.where(total > 0, wins / np.where(total > 0, total, 1.0), np.nan)


def _estimate(point: np.ndarray, draws: np.ndarray) -> Estimate:
    value = float(point.ravel()[0])
    if np.isnan(value):
        return Estimate()
    defined = draws[~np.isnan(draws)]
    if len(defined) == 0:
        return Estimate(value=value)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high))
