"""The memory's choice is the one by one choice, its score the farthest patches, and places are judged as published."""

import numpy as np
import pytest

from worker.ml.evaluation.localisation import Localisation, aupro, pixel_auroc
from worker.ml.heads.patch_levels import Cells, enlarged, remember_levels
from worker.ml.heads.patch_memory import k_centre, remember, top_mean
from worker.ml.training.anomaly_threshold import choose_threshold


def one_by_one(points: np.ndarray, n: int, first: int) -> list[int]:
    chosen = [first]
    while len(chosen) < n:
        away = np.linalg.norm(points[:, None] - points[chosen][None], axis=2).min(axis=1)
        chosen.append(int(away.argmax()))
    return chosen


@pytest.mark.parametrize("n", [2, 60, 700])
def test_choosing_many_at_once_is_choosing_one_by_one(n: int) -> None:
    points = np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32)
    chosen = k_centre(points, n, seed=4).tolist()
    assert chosen == one_by_one(points.astype(np.float64), n, chosen[0])


def test_more_places_than_patches_keeps_all_of_them() -> None:
    assert k_centre(np.zeros((5, 2), dtype=np.float32), 9, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_a_remembered_patch_is_near_and_a_strange_one_far() -> None:
    good = np.random.default_rng(1).normal(size=(400, 6)).astype(np.float16)
    memory, _ = remember(good, at_most=400, seed=0)
    assert memory.distances(good).max() < 1e-2
    assert memory.distances(np.full((1, 6), 9.0))[0] > 5.0


def test_good_patches_that_are_all_the_same_do_not_break_it() -> None:
    memory, _ = remember(np.ones((30, 4), dtype=np.float16), at_most=10, seed=0)
    assert memory.distances(np.ones((5, 4))).max() == pytest.approx(0.0, abs=1e-3)


def test_a_map_is_enlarged_between_the_middles_of_its_cells() -> None:
    assert enlarged(np.array([[0.0, 1.0]], dtype=np.float32), (1, 4)).tolist() == [[0.0, 0.25, 0.75, 1.0]]
    assert enlarged(np.full((2, 3), 7.0, dtype=np.float32), (4, 6)).tolist() == np.full((4, 6), 7.0).tolist()


def test_scales_count_by_how_much_their_distances_differ_not_by_how_large_they_are() -> None:
    generator = np.random.default_rng(3)
    fine = [generator.normal(size=(64, 4)) for _ in range(6)]
    coarse = [generator.normal(size=(16, 4)) for _ in range(6)]
    cells = [
        Cells(generator.normal(size=(4, 8, 8)), np.ones((8, 8), bool)),
        Cells(generator.normal(size=(4, 4, 4)), np.ones((4, 4), bool)),
    ]
    memory = remember_levels([fine, coarse], [1.0, 1.0], at_most=40, seed=0)
    louder = remember_levels([fine, [100.0 * one for one in coarse]], [1.0, 1.0], at_most=40, seed=0)
    assert memory.score(cells) == pytest.approx(
        louder.score([cells[0], Cells(100.0 * cells[1].values, cells[1].inside)]), rel=1e-3
    )


def test_cells_outside_of_the_picture_say_nothing_of_those_inside() -> None:
    generator = np.random.default_rng(4)
    memory = remember_levels([[generator.normal(size=(16, 3)) for _ in range(4)]] * 2, [1.0, 1.0], at_most=20, seed=0)
    inside = np.zeros((4, 4), dtype=bool)
    inside[:, :2] = True
    values = generator.normal(size=(3, 2, 2))
    strange = values.copy()
    strange[:, :, 1] = 50.0
    fine = Cells(generator.normal(size=(3, 4, 4)), inside)
    scores = [memory.score([fine, Cells(one, inside[::2, ::2])]) for one in (values, strange)]
    assert scores[0] == scores[1]


def test_the_score_is_the_mean_of_the_top_hundredth_of_one_at_least() -> None:
    assert top_mean(np.array([1.0, 5.0, 2.0])) == 5.0
    assert top_mean(np.arange(200.0)) == pytest.approx(198.5)
    assert top_mean(np.zeros(0)) == 0.0


def test_a_map_of_the_mask_itself_is_perfect_and_its_reverse_is_not() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:6, 2:6] = mask[12:14, 12:20] = True
    assert aupro([mask], [mask.astype(float)]) == pytest.approx(1.0)
    assert pixel_auroc([mask], [mask.astype(float)]) == 1.0
    assert aupro([mask], [-mask.astype(float)]) < 0.01
    assert np.isnan(aupro([np.zeros((4, 4), dtype=bool)], [np.zeros((4, 4))]))


def test_a_small_defect_counts_as_much_as_a_large_one() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[:10, :10] = True
    mask[15, 15] = True
    only_large = np.zeros((20, 20))
    only_large[:10, :10] = 1.0
    # One of two defects from the start; the other only where everything is called defective.
    assert aupro([mask], [only_large]) == pytest.approx(0.5 + 0.5 * 0.15, abs=0.01)


def test_good_images_alone_promise_their_share_of_false_alarms() -> None:
    generator = np.random.default_rng(2)
    shares = []
    for _ in range(200):
        limit = choose_threshold(generator.gamma(4.0, size=39), np.zeros(0)).value
        shares.append((generator.gamma(4.0, size=500) >= limit).mean())
    assert np.mean(shares) <= 0.055
    assert "about 5 %" in choose_threshold(np.arange(1.0, 40.0), np.zeros(0)).reason
    assert "about 9 %" in choose_threshold(np.arange(1.0, 11.0), np.zeros(0)).reason


def test_a_few_abnormal_images_move_the_threshold_between_them_and_the_good() -> None:
    threshold = choose_threshold(np.array([1.0, 1.2, 1.4, 1.1]), np.array([4.0, 5.0, 6.0]))
    assert 1.4 < threshold.value < 4.0
    assert "1.000" in threshold.reason


def test_counted_image_by_image_the_figures_are_those_of_all_pixels_at_once() -> None:
    generator = np.random.default_rng(8)
    masks = [generator.random((40, 50)) < share for share in (0.0, 0.02, 0.1)]
    maps = [np.clip(0.3 * mask + 0.5 * generator.random(mask.shape), 0.0, 1.0) for mask in masks]
    tally = Localisation()
    for mask, values in zip(masks, maps, strict=True):
        tally.add(mask, values)
    assert tally.aupro() == pytest.approx(aupro(masks, maps), abs=1e-3)
    assert tally.pixel_auroc() == pytest.approx(pixel_auroc(masks, maps), abs=1e-3)


def test_without_a_mask_there_are_no_figures_of_places() -> None:
    tally = Localisation()
    tally.add(np.zeros((4, 4), dtype=bool), np.ones((4, 4)))
    assert (tally.aupro(), tally.pixel_auroc()) == (None, None)
