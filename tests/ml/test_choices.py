"""Which candidate wins a comparison."""

import numpy as np
import pytest

from worker.ml.training.choices import Measured, best_symmetry, cheapest_as_good


def measured(score: float, noise: float = 0.0, seed: int = 0) -> Measured:
    draws = score + noise * np.random.default_rng(seed).standard_normal(300)
    return Measured(score, draws, 1.0)


@pytest.mark.parametrize(
    ("turned", "noise", "expected"),
    [(0.90, 0.02, "rot90"), (0.90, 0.001, "flip_v"), (0.85, 0.2, "flip_v"), (0.93, 0.0, "rot90")],
    ids=["a tie in the noise", "clearly worse", "worse than a single view", "best"],
)
def test_a_turn_stands_for_what_cannot_be_told_from_it(turned, noise, expected):
    found = {
        "identity": measured(0.88, noise, 1),
        "flip_v": measured(0.91, noise, 2),
        "rot90": measured(turned, noise, 3),
    }
    assert best_symmetry(found) == expected


def test_one_view_where_nothing_gains():
    assert best_symmetry({"identity": measured(0.9), "flip_h": measured(0.9), "rot90": measured(0.89)}) == "identity"


def test_the_cheapest_backbone_within_the_noise_wins():
    found = {"cheap": measured(0.90, 0.02, 1), "dear": measured(0.91, 0.02, 2)}
    assert cheapest_as_good(found, ["cheap", "dear"]) == "cheap"
    found = {"cheap": measured(0.90, 0.001, 1), "dear": measured(0.95, 0.001, 2)}
    assert cheapest_as_good(found, ["cheap", "dear"]) == "dear"
