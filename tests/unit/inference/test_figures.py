"""Figures of a report against plain, slow references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.inference import bootstrap, calibration, metrics, ranking
from app.inference.decision import Answers


def slow_f1(truth: list[bool], called: list[bool]) -> tuple[float, float, float]:
    hits = sum(t and c for t, c in zip(truth, called, strict=True))
    wrongly = sum(c and not t for t, c in zip(truth, called, strict=True))
    missed = sum(t and not c for t, c in zip(truth, called, strict=True))
    return hits / (hits + wrongly), hits / (hits + missed), 2 * hits / (2 * hits + wrongly + missed)


def answers_of(predicted: np.ndarray, is_unsure: np.ndarray | None = None) -> Answers:
    unsure = np.zeros(len(predicted), dtype=np.bool_) if is_unsure is None else is_unsure
    return Answers(predicted, np.ones(len(predicted)), unsure)


def test_the_defect_figures_equal_the_definition() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.7, truth, rng.integers(0, 3, 200))
    found = metrics.figures_of(metrics.grid_of(truth, answers_of(predicted), 3), good=0)
    precision, recall, f1 = slow_f1((truth != 0).tolist(), (predicted != 0).tolist())
    assert found.precision.value == pytest.approx(precision)
    assert found.recall.value == pytest.approx(recall)
    assert found.f1.value == pytest.approx(f1)
    assert found.accuracy.value == pytest.approx((truth == predicted).mean())
    for k, one in enumerate(found.classes):
        assert one.f1.value == pytest.approx(slow_f1((truth == k).tolist(), (predicted == k).tolist())[2])
        assert (one.n_labelled, one.n_predicted) == ((truth == k).sum(), (predicted == k).sum())


def test_without_a_good_class_figures_are_means_over_the_answered_classes() -> None:
    rng = np.random.default_rng(2)
    truth, predicted = rng.integers(0, 3, 150), rng.integers(0, 3, 150)
    unsure = rng.random(150) < 0.2
    found = metrics.figures_of(metrics.grid_of(truth, answers_of(predicted, unsure), 3), good=None)
    t, p = truth[~unsure], predicted[~unsure]
    each = [slow_f1((t == k).tolist(), (p == k).tolist()) for k in range(3)]
    assert found.f1.value == pytest.approx(np.mean([one[2] for one in each]))
    assert found.answered.value == pytest.approx((~unsure).mean())
    assert found.accuracy.value == pytest.approx((t == p).mean())


def test_intervals_agree_with_resampling_images_one_by_one() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random(300) < 0.3).astype(np.int64)
    predicted = np.where(rng.random(300) < 0.85, truth, 1 - truth)
    found = metrics.figures_of(metrics.grid_of(truth, answers_of(predicted), 2), good=0)
    samples = []
    for _ in range(2000):
        rows = rng.integers(0, 300, 300)
        samples.append(slow_f1(truth[rows].astype(bool).tolist(), predicted[rows].astype(bool).tolist())[2])
    low, high = np.percentile(samples, [2.5, 97.5])
    assert found.f1.low == pytest.approx(low, abs=0.012)
    assert found.f1.high == pytest.approx(high, abs=0.012)


def test_auroc_counts_pairs_with_ties_half() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 120)
    bad = np.round(np.clip(rng.normal(0.4 + 0.2 * truth, 0.25), 0, 1), 1)
    found = ranking.auroc_of(truth, np.column_stack([1 - bad, bad]), good=0)
    ups, downs = bad[truth == 1], bad[truth == 0]
    pairs = np.mean([[(u > d) + 0.5 * (u == d) for d in downs] for u in ups])
    assert found.value == pytest.approx(pairs)
    assert found.low is not None
    assert found.high is not None
    assert found.low < pairs < found.high


def test_no_error_seen_does_not_claim_certainty() -> None:
    truth = np.array([0] * 10 + [1] * 10)
    found = metrics.figures_of(metrics.grid_of(truth, answers_of(truth), 2), good=0)
    assert found.accuracy == bootstrap.Estimate(1.0, pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert found.recall.low == pytest.approx(0.025 ** (1 / 10))


@pytest.mark.parametrize("good", [0, None])
def test_a_missing_class_is_not_known_and_never_an_error(good: int | None) -> None:
    truth = np.zeros(5, dtype=np.int64)
    scores = np.tile([0.9, 0.1, 0.0], (5, 1))
    found = metrics.figures_of(metrics.grid_of(truth, answers_of(truth), 3), good)
    assert found.classes[2].recall == bootstrap.Estimate()
    assert ranking.auroc_of(truth, scores, good) == bootstrap.Estimate()
    if good == 0:
        assert found.recall == bootstrap.Estimate()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=3, max_size=3), st.sampled_from([0, None])
)
def test_every_figure_lies_in_its_interval(rows: list[list[int]], good: int | None) -> None:
    grid = np.array(rows, dtype=np.int64)
    if good is not None:
        grid[:, -1] = 0
    found = metrics.figures_of(grid, good)
    for one in (found.f1, found.precision, found.recall, found.accuracy, *(c.recall for c in found.classes)):
        if one.value is None:
            assert one.low is None
            assert one.high is None
        else:
            assert one.low is not None
            assert one.high is not None
            assert 0.0 <= one.low <= one.high <= 1.0


def test_the_paired_difference_of_a_model_with_itself_is_nothing() -> None:
    counts = np.array([30, 12, 5, 9])
    gap = bootstrap.difference(
        counts, lambda drawn: drawn[:, 0] / drawn.sum(1), lambda drawn: drawn[:, 0] / drawn.sum(1)
    )
    assert (gap.value, gap.low, gap.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("good", [0, None])
def test_the_order_of_the_images_makes_no_difference(good: int | None) -> None:
    """A training and a page meet the images in different orders, and must say the same."""
    rng = np.random.default_rng(6)
    truth, scores = rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90).round(2)
    mixed = rng.permutation(90)
    assert ranking.auroc_of(truth, scores, good) == ranking.auroc_of(truth[mixed], scores[mixed], good)


def test_reliability_of_perfectly_calibrated_scores_is_on_the_diagonal() -> None:
    rng = np.random.default_rng(5)
    top = rng.uniform(0.5, 1.0, 20_000)
    truth = np.where(rng.random(20_000) < top, 0, 1)
    bins, ece = calibration.reliability_of(truth, np.column_stack([top, 1 - top]))
    assert ece < 0.02
    assert sum(item.n for item in bins) == 20_000
    assert all(item.low <= item.share_right <= item.high for item in bins)


def test_calibration_error_by_hand() -> None:
    scores = np.array([[0.95, 0.05]] * 10 + [[0.4, 0.6]] * 10)
    truth = np.array([0] * 8 + [1] * 2 + [1] * 5 + [0] * 5)
    assert calibration.reliability_of(truth, scores)[1] == pytest.approx((0.15 * 10 + 0.1 * 10) / 20)
    assert calibration.reliability_of(truth[:0], scores[:0]) == ((), None)
