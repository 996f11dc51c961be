"""The kernel part beside the linear head: used where held-out answers gain, and the same in the graph."""

import numpy as np
import pytest

from worker.ml.heads import kernel, linear


def rings(n: int, k: int, d: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return points (N, D) of which no straight line tells the classes apart: shells around one centre."""
    generator = np.random.default_rng(seed)
    truth = np.arange(n) % k
    points = generator.normal(0, 1, (n, d))
    points *= (1 + 1.5 * truth / np.linalg.norm(points, axis=1))[:, None]
    return (points + 3).astype(np.float32), truth


def fitted(
    features: np.ndarray, truth: np.ndarray, k: int
) -> tuple[kernel.KernelFit, kernel.Stacked, linear.LinearHead]:
    whitener = linear.Whitener(features)
    best = min(linear.cross_validate(whitener, truth, k, seed=0), key=lambda one: one.log_loss)
    fit = kernel.KernelFit(whitener, truth, k)
    stacked = fit.stack(best, linear.stratified_folds(truth, linear.N_FOLDS, 0), lambda: None)
    return fit, stacked, linear.fit(whitener, truth, k, best.strength)


@pytest.mark.parametrize("k", [2, 3])
def test_it_tells_apart_what_no_line_does(k):
    features, truth = rings(240, k)
    fit, stacked, line = fitted(features, truth, k)
    assert stacked.is_better
    new_features, new_truth = rings(240, k, seed=1)
    head = fit.head(line, stacked.mixture)
    with_kernel = (head.logits(new_features).argmax(1) == new_truth).mean()
    without = (line.logits(new_features).argmax(1) == new_truth).mean()
    assert with_kernel > without + 0.15


def test_it_is_left_out_where_a_line_is_right():
    generator = np.random.default_rng(0)
    truth = np.arange(200) % 2
    features = generator.normal(0, 1, (200, 20)) + 1.2 * truth[:, None] * (np.arange(20) < 3)
    _, stacked, _ = fitted(features, truth, 2)
    assert not stacked.is_better


def test_the_folded_head_says_what_its_parts_say():
    features, truth = rings(120, 2)
    fit, stacked, line = fitted(features, truth, 2)
    head = fit.head(line, stacked.mixture)
    weight, bias = fit._fit(np.arange(120))
    margins = kernel.similarity(fit._points, fit._points, fit._gamma) @ weight + bias
    np.testing.assert_allclose(head.logits(features), stacked.mixture(line.logits(features), margins), atol=1e-4)
    np.testing.assert_allclose(head.cooled(2.0).logits(features), head.logits(features) / 2.0)


def test_a_class_of_two_images_and_features_that_never_change_do_no_harm():
    features, truth = rings(120, 2)
    truth[:2] = 2
    fit, stacked, line = fitted(features, truth, 3)
    assert np.isfinite(fit.head(line, stacked.mixture).logits(features)).all()
    fit, stacked, line = fitted(np.ones((80, 12), dtype=np.float32), np.arange(80) % 2, 2)
    assert np.isfinite(fit.head(line, stacked.mixture).logits(np.ones((3, 12)))).all()


def test_the_mixture_counts_no_part_against_itself():
    truth = np.arange(90) % 3
    right = np.eye(3)[truth] + np.random.default_rng(0).normal(0, 0.5, (90, 3))
    mixture = kernel.mix(right, -right, truth)
    assert mixture.linear > 0
    assert 0 <= mixture.kernel < 1e-3


def test_no_kernel_for_a_handful_of_images_or_for_very_many():
    assert not kernel.can_fit(40, 2)
    assert kernel.can_fit(2000, 6)
    assert not kernel.can_fit(20_000, 2)
