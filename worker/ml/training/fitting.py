"""Fitting a classifier's head: its strength and its kernel part by cross-validation, its temperature, its threshold."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from app.contracts.bundle import DecisionRule
from app.contracts.dataset import CategoryRef
from app.inference.sessions.openvino import n_cpus
from app.inference.threshold import choose_rule
from worker.ml.data.extraction import Extracted, FeatureExtractor
from worker.ml.heads.kernel import Head, KernelFit, Stacked, can_fit
from worker.ml.heads.linear import (
    N_FOLDS,
    CrossValidation,
    Whitener,
    cross_validate,
    fit,
    fit_temperature,
    softmax,
    solve,
    stratified_folds,
)
from worker.ml.training.choices import macro_auroc
from worker.ml.training.reporting import Reporter

_MIN_DEV = 60
_MIN_DEV_EACH = 10
_MIN_FOR_CURVE = 40
_OUT_OF_FOLD = "the training images, each judged by a model that had not seen it"


@dataclass(frozen=True)
class Labelled:
    """Features (N, D) of images and their class indices (N,)."""

    features: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """A head with everything that was chosen with it. `feature_mean` (D,) is that of the training images.

    `stacked` is None where a kernel part was not tried: too few images, or too many. `held_out` (N, K) are the
    logits of the training images, each by a fit that had not seen it.
    """

    head: Head
    temperature: float
    decision: DecisionRule
    cross_validation: list[CrossValidation]
    strength: float
    stacked: Stacked | None
    feature_mean: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class Seen:
    """Images as one backbone sees them: the features (N, D) of the labelled ones in order, and the head on them."""

    extractor: FeatureExtractor
    extracted: Extracted
    features: np.ndarray
    fitted: Fitted


def fit_classifier(
    train: Labelled, dev: Labelled, categories: Sequence[CategoryRef], *, seed: int, reporter: Reporter
) -> Fitted:
    """Fit on the training images; calibrate on dev, or where dev is small on out-of-fold answers.

    Points for two live curves are reported: AUROC by strength (as a power of ten), and by the share of the labels.
    """
    k = len(categories)
    whitener = Whitener(train.features)
    reporter.step(0.2)
    results = cross_validate(whitener, train.truth, k, seed=seed, on_step=lambda: reporter.step(0.4))
    best = min(results, key=lambda result: result.log_loss)
    for result in results:
        value = macro_auroc(train.truth, result.logits)
        reporter.point("cross_validated_auroc", float(np.log10(result.strength)), value)
    _report_learning_curve(whitener, train.truth, k, best.strength, seed=seed, reporter=reporter)
    head, stacked = _with_kernel(whitener, train.truth, best, k, seed=seed, reporter=reporter)
    held_out = stacked.logits if stacked and stacked.is_better else best.logits
    reporter.step(0.8, "Calibrating")
    temperature, decision = _calibrate(head, dev, held_out, train.truth, categories)
    mean = train.features.mean(axis=0, dtype=np.float64)
    return Fitted(head, temperature, decision, results, best.strength, stacked, mean, held_out)


def _with_kernel(
    whitener: Whitener, truth: np.ndarray, best: CrossValidation, n_categories: int, *, seed: int, reporter: Reporter
) -> tuple[Head, Stacked | None]:
    """Fit the linear head on all images, and a kernel part beside it where held-out answers gain by one."""
    linear = fit(whitener, truth, n_categories, best.strength)
    if not can_fit(len(truth), n_categories):
        return Head(linear), None
    kernel = KernelFit(whitener, truth, n_categories)
    folds = stratified_folds(truth, N_FOLDS, seed)
    stacked = kernel.stack(best, folds, on_step=lambda: reporter.step(0.7))
    says = f"lowers the cross-validated log-loss by {stacked.gain:.4f} (standard error {stacked.gain_error:.4f})"
    if not stacked.is_better:
        reporter.log(f"No kernel part: it {says}.")
        return Head(linear), stacked
    reporter.log(f"A kernel part {says} and is used.")
    return kernel.head(linear, stacked.mixture), stacked


def _calibrate(
    head: Head, dev: Labelled, held_out: np.ndarray, train_truth: np.ndarray, categories: Sequence[CategoryRef]
) -> tuple[float, DecisionRule]:
    counts = np.bincount(dev.truth)
    counts = counts[counts > 0]
    if len(dev.truth) >= _MIN_DEV and len(counts) > 1 and counts.min() >= _MIN_DEV_EACH:
        logits, truth, measured_on = head.logits(dev.features), dev.truth, "the dev images"
    else:
        logits, truth, measured_on = held_out, train_truth, _OUT_OF_FOLD
    temperature = fit_temperature(logits, truth)
    return temperature, choose_rule(truth, softmax(logits / temperature), categories, measured_on=measured_on)


def _report_learning_curve(
    whitener: Whitener, truth: np.ndarray, n_categories: int, strength: float, *, seed: int, reporter: Reporter
) -> None:
    """Say how the score on one fold grows with labels from the others: does labelling more still pay?"""
    folds = stratified_folds(truth, N_FOLDS, seed)
    if len(folds) < 3 or len(truth) < _MIN_FOR_CURVE:
        return
    held_out = folds[0]
    shares = {n: np.concatenate(folds[1 : n + 1]) for n in range(1, len(folds))}

    def score(rest: np.ndarray) -> float:
        weight, bias = solve(whitener.coordinates[rest], truth[rest], n_categories, strength)
        return macro_auroc(truth[held_out], whitener.coordinates[held_out] @ weight + bias)

    with ThreadPoolExecutor(n_cpus()) as pool:
        scores = {n: pool.submit(score, rest) for n, rest in shares.items() if len(np.unique(truth[rest])) > 1}
        for n_parts, result in scores.items():
            reporter.step(0.6)
            if not np.isnan(value := result.result()):
                reporter.point("auroc_by_share_of_labels", n_parts / (len(folds) - 1), value)
