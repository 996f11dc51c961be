"""Which split an image goes to: by chance that can be repeated, in each class alike, and never again once it is said.

Pure functions; nothing here knows the database.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from app.contracts.tasks import Split
from app.core.errors import Invalid

DEFAULT_PERCENTAGES: dict[Split, int] = {Split.TRAIN: 70, Split.DEV: 15, Split.TEST: 15}
DEFAULT_SEED = 0

NO_CLASS: frozenset[int | None] = frozenset({None})

Counts = Mapping[Split, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that is to be given a split. Its place in the draw follows from its content, not from its id.

    `category_ids` are the classes that it holds: one, several, or none where there is nothing to label.
    """

    image_id: int
    sha256: str
    category_ids: frozenset[int]

    @property
    def strata(self) -> frozenset[int | None]:
        """The groups that it is counted in: its classes, or the one of the images without any."""
        return self.category_ids or NO_CLASS


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
    held_out: Collection[int] = (),
) -> dict[int, Split]:
    """Return a split for each candidate, so that each class, with what it has already, comes nearest to its shares.

    Images with several classes are drawn for the rarest of them, and counted for all: the rarest class has the least
    choice. The same images and seed give the same splits in whatever order they come.

    Args:
        existing: For each class (None: no class), how many images have which split already. They stay where they are.
        held_out: Classes that nothing is fitted on: their share of train goes to dev and test.

    Source: Sechidis, Tsoumakas, Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1; the
    order of the classes is that at the start, and within a class by the draw.
    """
    holders: dict[int | None, list[Candidate]] = {}
    for candidate in candidates:
        for stratum in candidate.strata:
            holders.setdefault(stratum, []).append(candidate)
    counts = {stratum: {split: existing.get(stratum, {}).get(split, 0) for split in Split} for stratum in holders}
    n_left = {stratum: len(members) for stratum, members in holders.items()}
    splits: dict[int, Split] = {}
    for stratum, members in sorted(holders.items(), key=_rarity):
        members.sort(key=lambda candidate: _place(candidate, seed))
        is_held_out = stratum in held_out
        shares = _without_train(percentages) if is_held_out else percentages
        # What rarer classes have drawn already is counted, but is not to be drawn again.
        wanted = _wanted(sum(counts[stratum].values()) + n_left[stratum], shares, is_held_out=is_held_out)
        for candidate in members:
            if candidate.image_id in splits:
                continue
            for each in candidate.strata:
                n_left[each] -= 1
            # The first of its class, or the last chance of another class that it holds.
            must_train = any(
                each not in held_out and not counts[each][Split.TRAIN] and (each == stratum or not n_left[each])
                for each in candidate.strata
            )
            split = Split.TRAIN if must_train else _neediest(counts[stratum], wanted)
            splits[candidate.image_id] = split
            for each in candidate.strata:
                counts[each][split] += 1
    return splits


def _rarity(item: tuple[int | None, list[Candidate]]) -> tuple[int, bool, int]:
    stratum, members = item
    return len(members), stratum is None, stratum or 0


def _without_train(percentages: Mapping[Split, int]) -> dict[Split, int]:
    """Return the shares of dev and test alone, in their proportion; all of it in dev where neither has one."""
    rest = 100 - percentages.get(Split.TRAIN, 0)
    dev = round(100 * percentages.get(Split.DEV, 0) / rest) if rest else 100
    return {Split.TRAIN: 0, Split.DEV: dev, Split.TEST: 100 - dev}


def _wanted(total: int, shares: Mapping[Split, int], *, is_held_out: bool) -> dict[Split, int]:
    if not is_held_out:
        return targets(total, shares)
    dev = -(-total * shares[Split.DEV] // 100)  # rounded up: the threshold comes first
    return {Split.TRAIN: 0, Split.DEV: dev, Split.TEST: total - dev}


def _neediest(counts: Counts, wanted: Counts) -> Split:
    return max(Split, key=lambda split: wanted[split] - counts[split])  # the first of equals: train, dev, test


def _place(candidate: Candidate, seed: int) -> tuple[bytes, int]:
    return hashlib.sha256(f"{seed}:{candidate.sha256}".encode()).digest(), candidate.image_id


def _invalid(detail: str) -> Invalid:
    return Invalid(detail, [{"pointer": "/splitPercentages", "detail": detail, "code": "percentages"}])
