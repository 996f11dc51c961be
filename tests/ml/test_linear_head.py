import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from worker.ml.heads import linear


def some_features(n, d, k, seed=0):
    generator = np.random.default_rng(seed)
    truth = np.arange(n) % k
    centres = generator.normal(0, 1.0, (k, d))
    return (centres[truth] + generator.normal(0, 2, (n, d))) * generator.uniform(0.1, 30, d) + 5, truth


@pytest.mark.parametrize(("n", "d", "k"), [(80, 12, 2), (60, 90, 2), (120, 20, 4), (50, 80, 3)])
@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_finds_the_minimum_that_scikit_learn_finds(n, d, k, strength):
    features, truth = some_features(n, d, k)
    whitener = linear.Whitener(features)
    weight, bias = linear.solve(whitener.coordinates, truth, k, strength)
    reference = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(whitener.coordinates, truth)
    ours = linear.softmax(whitener.coordinates @ weight + bias)
    np.testing.assert_allclose(ours, reference.predict_proba(whitener.coordinates), atol=2e-4)


def test_unfolded_head_says_the_same_on_raw_features():
    features, truth = some_features(60, 90, 3)
    whitener = linear.Whitener(features)
    weight, bias = linear.solve(whitener.coordinates, truth, 3, 1e-2)
    raw = whitener.unfold(weight, bias).logits(features)
    np.testing.assert_allclose(raw, whitener.coordinates @ weight + bias, atol=1e-5)


def test_rotating_into_the_main_directions_keeps_all_distances():
    features, _ = some_features(40, 200, 2)
    whitener = linear.Whitener(features)
    z = (features - whitener.mean) / whitener.scale * np.sqrt(2304 / 200)
    kept = (whitener.coordinates**2).sum() / (z**2).sum()
    assert kept > 0.998


def test_main_directions_of_a_sample_serve_all():
    features, truth = some_features(2600, 30, 2)
    whitener = linear.Whitener(features.astype(np.float32))
    assert whitener.coordinates.shape[0] == 2600
    assert (linear.fit(whitener, truth, 2, 1e-2).logits(features).argmax(1) == truth).mean() > 0.9


def test_a_feature_that_never_changes_gets_no_weight():
    features, truth = some_features(60, 10, 2)
    features[:, 3] = 7.0
    head = linear.fit(linear.Whitener(features), truth, 2, 1e-1)
    assert np.all(head.weight[3] == 0)
    assert np.isfinite(head.weight).all()


def test_folds_share_out_every_class_and_repeat():
    truth = np.array([0] * 50 + [1] * 7 + [2] * 2)
    folds = linear.stratified_folds(truth, 5, seed=1)
    assert sorted(np.concatenate(folds).tolist()) == list(range(59))
    assert len(folds) == 2
    again = linear.stratified_folds(truth, 5, seed=1)
    assert all((a == b).all() for a, b in zip(folds, again, strict=True))


def test_an_absent_class_never_wins():
    features, truth = some_features(40, 10, 2)
    head = linear.fit(linear.Whitener(features), truth * 2, 3, 1e-2)
    assert (linear.softmax(head.logits(features))[:, 1] < 1e-6).all()


def test_temperature_undoes_overconfidence():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (4000, 3))
    probabilities = linear.softmax(logits)
    truth = (probabilities.cumsum(1) > generator.random((4000, 1))).argmax(1)
    assert linear.fit_temperature(logits * 3, truth) == pytest.approx(3, rel=0.1)
    assert linear.fit_temperature(logits, truth) == pytest.approx(1, rel=0.1)
