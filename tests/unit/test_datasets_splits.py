"""Splits: everyone gets one, nobody moves, each class alike, the same draw every time."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.tasks import Split
from app.core.errors import Invalid
from app.datasets.splits import DEFAULT_PERCENTAGES, Candidate, assign, check_percentages, targets


def percentages(train: int, dev: int, test: int) -> dict[Split, int]:
    return {Split.TRAIN: train, Split.DEV: dev, Split.TEST: test}


SHARES = st.tuples(st.integers(1, 100), st.integers(0, 100)).map(
    lambda two: percentages(two[0], (100 - two[0]) * two[1] // 100, 100 - two[0] - (100 - two[0]) * two[1] // 100)
)


def candidates(n: int, category_id: int = 1, start: int = 0) -> list[Candidate]:
    return [Candidate(number, f"{number:064x}", frozenset({category_id})) for number in range(start, start + n)]


@given(st.integers(0, 5000), SHARES)
def test_targets_add_up_and_stay_near_their_shares(total: int, shares: dict[Split, int]) -> None:
    counts = targets(total, shares)
    assert sum(counts.values()) == total
    assert min(counts.values()) >= 0
    for split in Split:
        assert abs(counts[split] - total * shares[split] / 100) <= 2


@given(st.integers(1, 60), SHARES)
def test_every_class_has_something_to_train_on(total: int, shares: dict[Split, int]) -> None:
    assert targets(total, shares)[Split.TRAIN] >= 1


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (1, (1, 0, 0)),
        (2, (1, 1, 0)),
        (3, (2, 1, 0)),
        (4, (2, 1, 1)),
        (5, (3, 1, 1)),
        (10, (7, 2, 1)),
        (100, (70, 15, 15)),
    ],
)
def test_small_classes_give_what_they_can(total: int, expected: tuple[int, int, int]) -> None:
    assert tuple(targets(total, DEFAULT_PERCENTAGES).values()) == expected


@given(
    st.dictionaries(st.integers(1, 5), st.integers(1, 40), min_size=1),
    st.dictionaries(st.integers(1, 5), st.tuples(*[st.integers(0, 20)] * 3)),
    st.integers(0, 9),
)
def test_new_images_fill_up_to_the_shares(
    sizes: dict[int, int], before: dict[int, tuple[int, int, int]], seed: int
) -> None:
    new = [one for category, size in sizes.items() for one in candidates(size, category, category * 1000)]
    existing = {category: dict(zip(Split, counts, strict=True)) for category, counts in before.items()}
    splits = assign(new, existing=existing, percentages=DEFAULT_PERCENTAGES, seed=seed)
    assert splits.keys() == {one.image_id for one in new}
    for category, size in sizes.items():
        counts = Counter(existing.get(category, {}))
        counts.update(splits[one.image_id] for one in new if category in one.category_ids)
        wanted = targets(counts.total(), DEFAULT_PERCENTAGES)
        assert counts[Split.TRAIN] >= 1
        for split in Split:  # more than wanted only where it was so before
            assert counts[split] <= max(wanted[split], existing.get(category, {}).get(split, 0), 1)
        assert size == sum(category in one.category_ids for one in new)


@given(st.integers(1, 80), st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_draw_does_not_depend_on_the_order(n: int, shuffler: random.Random, seed: int) -> None:
    one, other = candidates(n), candidates(n)
    shuffler.shuffle(other)
    draw = {"existing": {}, "percentages": DEFAULT_PERCENTAGES, "seed": seed}
    assert assign(one, **draw) == assign(other, **draw)


def test_another_seed_draws_anew() -> None:
    draws = [assign(candidates(60), existing={}, percentages=DEFAULT_PERCENTAGES, seed=seed) for seed in (0, 1)]
    assert draws[0] != draws[1]


@pytest.mark.parametrize("shares", [(70, 15, 14), (0, 50, 50), (110, -5, -5)])
def test_senseless_percentages_are_refused(shares: tuple[int, int, int]) -> None:
    with pytest.raises(Invalid):
        check_percentages(percentages(*shares))


@given(
    st.lists(st.frozensets(st.integers(1, 6), max_size=3), min_size=1, max_size=150),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_images_with_several_classes_keep_every_class_trainable(
    holdings: list[frozenset[int]], seed: int, shuffler: random.Random
) -> None:
    new = [Candidate(number, f"{number:064x}", classes) for number, classes in enumerate(holdings)]
    draw = {"existing": {}, "percentages": DEFAULT_PERCENTAGES, "seed": seed}
    splits = assign(new, **draw)
    assert splits.keys() == {one.image_id for one in new}
    for category in frozenset().union(*holdings):
        assert Split.TRAIN in {splits[one.image_id] for one in new if category in one.category_ids}
    shuffled = new[:]
    shuffler.shuffle(shuffled)
    assert assign(shuffled, **draw) == splits


def test_a_rare_class_among_common_ones_reaches_every_split() -> None:
    """Drawn at random, the eight images of the rare class would often leave dev or test without one."""
    new = [Candidate(number, f"{number:064x}", frozenset({1, 2} if number % 50 == 0 else {1})) for number in range(400)]
    splits = assign(new, existing={}, percentages=DEFAULT_PERCENTAGES)
    rare = Counter(splits[one.image_id] for one in new if 2 in one.category_ids)
    assert rare == {Split.TRAIN: 6, Split.DEV: 1, Split.TEST: 1}
    assert Counter(splits.values()) == {Split.TRAIN: 280, Split.DEV: 60, Split.TEST: 60}


@given(st.integers(0, 60), st.integers(1, 60), SHARES)
def test_what_is_held_out_is_never_fitted_on(n_good: int, n_bad: int, shares: dict[Split, int]) -> None:
    new = [*candidates(n_good, 1), *candidates(n_bad, 2, 1000)]
    splits = assign(new, existing={}, percentages=shares, held_out={2})
    bad = Counter(splits[one.image_id] for one in new if 2 in one.category_ids)
    assert bad[Split.TRAIN] == 0
    assert bad.total() == n_bad
    assert bad[Split.DEV] >= 1 or not shares[Split.DEV]


def test_the_few_abnormal_images_go_half_to_dev_and_half_to_test() -> None:
    splits = assign(candidates(5, 2), existing={}, percentages=DEFAULT_PERCENTAGES, held_out={2})
    assert Counter(splits.values()) == {Split.DEV: 3, Split.TEST: 2}
