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
    return [Candidate(number, f"{number:064x}", category_id) for number in range(start, start + n)]


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
        counts.update(splits[one.image_id] for one in new if one.category_id == category)
        wanted = targets(counts.total(), DEFAULT_PERCENTAGES)
        assert counts[Split.TRAIN] >= 1
        for split in Split:  # more than wanted only where it was so before
            assert counts[split] <= max(wanted[split], existing.get(category, {}).get(split, 0), 1)
        assert size == sum(one.category_id == category for one in new)


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
