import numpy as np
import pytest

from app.contracts.bundle import DecisionRule
from app.contracts.dataset import CategoryRef
from app.contracts.predictions import ClassScores
from app.inference.decision import decide, decide_many
from app.inference.metrics import figures_of, grid_of
from app.inference.threshold import best_f1_threshold, choose_rule

GOOD = CategoryRef(id=1, name="good", color="#00aa00", is_good=True)
SCRATCH = CategoryRef(id=2, name="scratch", color="#aa0000")
DENT = CategoryRef(id=3, name="dent", color="#0000aa")


def rule(kind, threshold):
    return DecisionRule(kind=kind, threshold=threshold, reason="")


def test_good_below_the_threshold_else_the_best_other():
    scores = ClassScores(scores=(0.6, 0.1, 0.3))
    categories = (GOOD, SCRATCH, DENT)
    assert decide(scores, rule("ng", 0.5), categories).category_index == 0
    answer = decide(scores, rule("ng", 0.4), categories)
    assert (answer.category_index, answer.score) == (2, 0.3)
    assert answer.ng_score == pytest.approx(0.4)
    assert decide(scores, rule("ng", 0.5), categories, threshold=0.2).category_index == 2


def test_without_a_good_class_the_best_wins_or_is_unsure():
    categories = (SCRATCH, DENT)
    assert decide(ClassScores(scores=(0.45, 0.55)), rule("confidence", 0.6), categories).is_unsure
    sure = decide(ClassScores(scores=(0.2, 0.8)), rule("confidence", 0.6), categories)
    assert (sure.category_index, sure.is_unsure, sure.ng_score) == (1, False, None)


def test_many_at_once_says_the_same_as_one_by_one():
    scores = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    for kind in ("ng", "confidence"):
        many = decide_many(scores, kind, (GOOD, SCRATCH, DENT), 0.45)
        for row, index, score, is_unsure in zip(scores, many.predicted, many.score, many.is_unsure, strict=True):
            one = decide(ClassScores(scores=tuple(row)), rule(kind, 0.45), (GOOD, SCRATCH, DENT))
            assert (one.category_index, one.score, one.is_unsure) == (index, score, is_unsure)


def shown_f1(is_ng, score, limit):
    """The F1 that a report shows at a threshold."""
    answers = decide_many(np.column_stack([1 - score, score]), "ng", (GOOD, SCRATCH), limit)
    return figures_of(grid_of(is_ng.astype(int), answers, 2), good=0).f1.value or 0.0


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
def test_the_best_threshold_is_the_one_found_by_trying_all(share):
    generator = np.random.default_rng(1)
    is_ng = generator.random(60) < share
    score = np.clip(0.3 * is_ng + generator.random(60) * 0.7, 0, 1).round(2)
    limit, best = best_f1_threshold(is_ng, score)
    assert shown_f1(is_ng, score, limit) == pytest.approx(best)
    assert best == pytest.approx(max(shown_f1(is_ng, score, value) for value in np.linspace(0.005, 0.995, 100)))


def test_lies_in_the_middle_of_the_gap():
    limit, f1 = best_f1_threshold(np.array([False] * 5 + [True] * 5), np.array([0.1] * 5 + [0.7] * 5))
    assert (limit, f1) == (pytest.approx(0.4), 1.0)


def test_of_equal_thresholds_the_one_that_misses_fewer_defects_wins():
    is_ng = np.array([True, False, False, True, False])
    score = np.array([0.9, 0.6, 0.5, 0.4, 0.1])
    assert shown_f1(is_ng, score, 0.75) == pytest.approx(2 / 3)  # finds one of two, no false alarm
    assert shown_f1(is_ng, score, 0.25) == pytest.approx(2 / 3)  # finds both, two false alarms
    assert best_f1_threshold(is_ng, score) == (pytest.approx(0.25), pytest.approx(2 / 3))


def test_never_cuts_between_scores_that_the_engine_cannot_tell_apart():
    score = np.array([0.2, 0.5, 0.5 + 1e-8, 0.9])
    limit, f1 = best_f1_threshold(np.array([False, False, True, True]), score)
    assert limit == pytest.approx(0.35)
    assert f1 == pytest.approx(0.8)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_model_that_says_nothing_gets_a_threshold_all_the_same(value):
    is_ng, score = np.array([True, False] * 5), np.full(10, value)
    limit, f1 = best_f1_threshold(is_ng, score)
    assert 0.0 <= limit <= 1.0
    assert shown_f1(is_ng, score, limit) == pytest.approx(f1)


def test_says_why():
    scores = np.array([[0.9, 0.1]] * 10 + [[0.2, 0.8]] * 10)
    chosen = choose_rule(np.array([0] * 10 + [1] * 10), scores, (GOOD, SCRATCH), measured_on="the dev images")
    assert chosen.kind == "ng"
    assert chosen.reason == "Highest F1 of finding defects on the dev images: 1.000, from 20 images."
    few = choose_rule(np.array([0, 1]), scores[[0, -1]], (GOOD, SCRATCH), measured_on="the dev images")
    assert few.threshold == 0.5
    assert "too few" in few.reason


@pytest.mark.parametrize("least", [0.35, 0.8])
def test_without_a_good_class_says_how_many_are_left_to_a_person(least):
    best = np.linspace(least, 0.99, 100)
    scores = np.column_stack([best, (1 - best) / 2, (1 - best) / 2])
    classes = (SCRATCH, DENT, CategoryRef(id=4, name="stain", color="#00aaaa"))
    chosen = choose_rule(np.zeros(100, int), scores, classes, measured_on="the dev images")
    n_unsure = int(decide_many(scores, "confidence", classes, chosen.threshold).is_unsure.sum())
    assert (chosen.kind, n_unsure) == ("confidence", 5 if least < 0.5 else 0)
    assert f"{n_unsure} of 100, measured on the dev images" in chosen.reason
    few = choose_rule(np.zeros(5, int), scores[:5], classes, measured_on="the dev images")
    assert few.threshold == 0.0
    assert few.reason.startswith("Every image gets an answer")
