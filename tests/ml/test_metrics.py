"""Metrics against scikit-learn and against counting by hand."""

import time

import numpy as np
import pytest
from sklearn import metrics as reference

from app.inference import metrics


def sample(n=300, k=3, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, k, n)
    logits = generator.normal(0, 1, (n, k)) + 1.5 * np.eye(k)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return truth, scores.round(2)  # rounded: with ties


@pytest.mark.parametrize("k", [2, 3, 5])
def test_agrees_with_scikit_learn(k):
    truth, scores = sample(k=k)
    called = scores.argmax(1)
    ours = metrics.evaluate(truth, scores, called, category_ids=range(k))
    assert ours.accuracy.value == pytest.approx(reference.accuracy_score(truth, called))
    assert ours.f1.value == pytest.approx(reference.f1_score(truth, called, average="macro"))
    assert ours.precision.value == pytest.approx(reference.precision_score(truth, called, average="macro"))
    assert ours.recall.value == pytest.approx(reference.recall_score(truth, called, average="macro"))
    assert (np.array(ours.confusion) == reference.confusion_matrix(truth, called)).all()
    expected = [reference.roc_auc_score(truth == index, scores[:, index]) for index in range(k)]
    assert ours.auroc.value == pytest.approx(expected[1] if k == 2 else np.mean(expected))
    per_class = reference.f1_score(truth, called, average=None)
    assert [one.f1.value for one in ours.categories] == pytest.approx(per_class)


def test_bootstrap_agrees_with_drawing_by_hand():
    truth, scores = sample(n=120, k=2)
    called = scores.argmax(1)
    ours = metrics.evaluate(truth, scores, called, category_ids=(1, 2), n_draws=400, seed=5)
    picks = np.random.default_rng(5).integers(0, 120, size=(400, 120), dtype=np.int32)
    f1 = [reference.f1_score(truth[p], called[p], average="macro") for p in picks]
    auroc = [reference.roc_auc_score(truth[p], scores[p, 1]) for p in picks]
    assert (ours.f1.low, ours.f1.high) == pytest.approx(tuple(np.percentile(f1, [2.5, 97.5])), abs=1e-6)
    assert (ours.auroc.low, ours.auroc.high) == pytest.approx(tuple(np.percentile(auroc, [2.5, 97.5])), abs=1e-5)


def test_the_same_seed_gives_the_same_intervals():
    truth, scores = sample()
    first, second = (metrics.evaluate(truth, scores, scores.argmax(1), category_ids=range(3)) for _ in range(2))
    assert first == second


def test_what_is_not_defined_is_none():
    nothing = metrics.evaluate(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0, int), category_ids=(1, 2))
    assert nothing.n == 0
    assert nothing.accuracy.value is None
    assert nothing.auroc.value is None
    assert nothing.ece is None
    one = metrics.evaluate(np.zeros(5, int), np.tile([0.8, 0.2], (5, 1)), np.zeros(5, int), category_ids=(1, 2))
    assert one.accuracy.value == 1.0
    assert one.auroc.value is None
    assert one.categories[1].recall.value is None


def test_calibration_error_by_hand():
    scores = np.array([[0.95, 0.05]] * 10 + [[0.4, 0.6]] * 10)
    truth = np.array([0] * 8 + [1] * 2 + [1] * 5 + [0] * 5)
    assert metrics.expected_calibration_error(truth, scores) == pytest.approx((0.15 * 10 + 0.1 * 10) / 20)


def test_is_quick_enough_for_a_slider():
    truth, scores = sample(n=3000, k=2)
    called = scores.argmax(1)
    best_s = 9.0
    for _ in range(5):
        started = time.process_time()
        metrics.evaluate(truth, scores, called, category_ids=(1, 2), n_draws=metrics.FAST_DRAWS)
        best_s = min(best_s, time.process_time() - started)
    assert best_s < 0.2  # 0.05 on an idle machine; the tests of others may run beside this one
