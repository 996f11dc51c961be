import numpy as np
import pytest

from app.contracts.bundle import DecisionRule
from app.contracts.dataset import CategoryRef
from app.contracts.predictions import ClassScores
from app.inference.decision import decide, decide_many
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
        called, unsure = decide_many(scores, kind, (GOOD, SCRATCH, DENT), 0.45)
        for row, index, is_unsure in zip(scores, called, unsure, strict=True):
            one = decide(ClassScores(scores=tuple(row)), rule(kind, 0.45), (GOOD, SCRATCH, DENT))
            assert (one.category_index, one.is_unsure) == (index, is_unsure)


def test_the_best_threshold_is_the_one_found_by_trying_all():
    generator = np.random.default_rng(1)
    is_ng = generator.random(60) < 0.3
    score = np.clip(0.3 * is_ng + generator.random(60) * 0.7, 0, 1).round(2)

    def macro_f1(limit):
        called = score >= limit
        pairs = [(is_ng, called), (~is_ng, ~called)]
        return np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs])

    limit, best = best_f1_threshold(is_ng, score)
    assert macro_f1(limit) == pytest.approx(best)
    assert best == pytest.approx(max(macro_f1(value) for value in np.linspace(0, 1, 2001)))


def test_lies_in_the_middle_of_the_gap():
    limit, f1 = best_f1_threshold(np.array([False] * 5 + [True] * 5), np.array([0.1] * 5 + [0.7] * 5))
    assert (limit, f1) == (pytest.approx(0.4), 1.0)


def test_says_why():
    scores = np.array([[0.9, 0.1]] * 10 + [[0.2, 0.8]] * 10)
    chosen = choose_rule(np.array([0] * 10 + [1] * 10), scores, (GOOD, SCRATCH), measured_on="the dev images")
    assert chosen.kind == "ng"
    assert "the dev images" in chosen.reason
    few = choose_rule(np.array([0, 1]), scores[[0, -1]], (GOOD, SCRATCH), measured_on="the dev images")
    assert few.threshold == 0.5
    assert "too few" in few.reason
