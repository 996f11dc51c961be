"""Which split an image goes to: by chance that can be repeated, in each class alike, and never again once it is said.

Pure functions; nothing here knows the database.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.contracts.tasks import Split
from app.core.errors import Invalid

DEFAULT_PERCENTAGES: dict[Split, int] = {Split.TRAIN: 70, Split.DEV: 15, Split.TEST: 15}
DEFAULT_SEED = 0

Counts = Mapping[Split, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that is to be given a split. Its place in the draw follows from its content, not from its id."""

    image_id: int
    sha256: str
    category_id: int | None


def check_percentages(percentages: Mapping[Split, int]) -> None:
    """Refuse shares that cannot be meant.

    Raises:
        Invalid: A share is negative, they do not sum to 100, or nothing is left to train on.
    """
    if any(share < 0 for share in percentages.values()) or sum(percentages.values()) != 100:
        raise _invalid("The percentages for train, dev and test are not negative and sum to 100.")
    if percentages.get(Split.TRAIN, 0) == 0:
        raise _invalid("Leave some images to train on: train is more than 0 %.")


def targets(total: int, percentages: Mapping[Split, int]) -> dict[Split, int]:
    """Return how many of `total` images of one class belong to each split.

    Shares are rounded by the largest remainder. A class too small for its share of dev or test still gives one image
    to dev, then one to test, as long as train keeps at least half of it: without dev there is no threshold, without
    test no honest figure.
    """
    exact = {split: total * percentages.get(split, 0) / 100 for split in Split}
    counts = {split: int(exact[split]) for split in Split}
    by_remainder = sorted(Split, key=lambda split: counts[split] - exact[split])  # stable: train, dev, test
    for split in by_remainder[: total - sum(counts.values())]:
        counts[split] += 1
    if total and not counts[Split.TRAIN]:
        counts[max(counts, key=counts.__getitem__)] -= 1
        counts[Split.TRAIN] = 1
    for split in (Split.DEV, Split.TEST):
        if percentages.get(split, 0) and not counts[split] and (counts[Split.TRAIN] - 1) * 2 >= total:
            counts[Split.TRAIN] -= 1
            counts[split] = 1
    return counts


def assign(
    candidates: Iterable[Candidate],
    *,
    existing: Mapping[int | None, Counts],
    percentages: Mapping[Split, int],
    seed: int = DEFAULT_SEED,
) -> dict[int, Split]:
    """Return a split for each candidate, so that each class, with what it has already, comes nearest to its shares.

    The same images and seed give the same splits in whatever order they come.

    Args:
        existing: For each class, how many images have which split already. They stay where they are.
    """
    by_category: dict[int | None, list[Candidate]] = {}
    for candidate in candidates:
        by_category.setdefault(candidate.category_id, []).append(candidate)
    splits: dict[int, Split] = {}
    for category_id, members in by_category.items():
        members.sort(key=lambda candidate: _place(candidate, seed))
        counts = {split: existing.get(category_id, {}).get(split, 0) for split in Split}
        wanted = targets(sum(counts.values()) + len(members), percentages)
        for candidate in members:
            split = Split.TRAIN if not counts[Split.TRAIN] else _neediest(counts, wanted)
            counts[split] += 1
            splits[candidate.image_id] = split
    return splits


def _neediest(counts: Counts, wanted: Counts) -> Split:
    return max(Split, key=lambda split: wanted[split] - counts[split])  # the first of equals: train, dev, test


def _place(candidate: Candidate, seed: int) -> tuple[bytes, int]:
    return hashlib.sha256(f"{seed}:{candidate.sha256}".encode()).digest(), candidate.image_id


def _invalid(detail: str) -> Invalid:
    return Invalid(detail, [{"pointer": "/splitPercentages", "detail": detail, "code": "percentages"}])
