"""Piles of images worth looking at: what the model missed, raised for nothing, mixed up, was unsure of."""

from dataclasses import dataclass

import numpy as np

from app.contracts.bundle import BundleManifest
from app.core.errors import Invalid
from app.core.pagination import decode_cursor, encode_cursor
from app.inference.array_types import Bools, Floats, Ints
from app.inference.decision import Answers, good_index_of, ng_scores
from app.registry.arrays import SplitArrays
from app.registry.schemas import GalleryTab

# With a good class there is no "unsure" answer; these are the images that a small move of the threshold would turn.
CLOSE_CALL = 0.1


@dataclass(frozen=True, slots=True)
class Pile:
    """Which images of a split, and in which order: the smallest `rank` first, then the smallest id."""

    chosen: Bools
    rank: Floats

    def __len__(self) -> int:
        return int(self.chosen.sum())


@dataclass(frozen=True, slots=True)
class Kind:
    """A pile in words."""

    title: str
    hint: str
    empty: str


KINDS: dict[str, Kind] = {
    "missed": Kind("Missed", "Defects called good, the surest mistakes first.", "No defect is missed here."),
    "false_alarms": Kind("False alarms", "Good parts called defective, the surest first.", "No good part is refused."),
    "mixed_up": Kind("Mixed up", "Defects called another defect.", "No defect is taken for another."),
    "wrong": Kind("Wrong", "Answered with another class, the surest mistakes first.", "Every answer is right."),
    "unsure": Kind("Unsure", "Closest to the threshold first: labels like these teach the most.", "Nothing is close."),
    "right": Kind("Right", "Answered as labelled, the least sure first.", "No image is answered as labelled."),
    "all": Kind("All", "The least sure first.", "There are no images here."),
}


def kinds_for(manifest: BundleManifest) -> tuple[str, ...]:
    """Return the piles of a report, in the order of what an engineer wants to see first."""
    if good_index_of(manifest) is None:
        return ("wrong", "unsure", "right")
    mixed = ("mixed_up",) if len(manifest.categories) > 2 else ()
    return ("missed", "false_alarms", *mixed, "unsure", "right")


def piles_of(part: SplitArrays, answers: Answers, manifest: BundleManifest, threshold: float) -> dict[str, Pile]:
    """Return every pile of a split at a threshold; without labels only `unsure` and `all` hold images."""
    good = good_index_of(manifest)
    known, right = part.truth >= 0, answers.predicted == part.truth
    if good is None:
        return {
            "wrong": Pile(known & ~right & ~answers.is_unsure, -answers.score),
            "unsure": Pile(answers.is_unsure, answers.score),
            "right": Pile(known & right & ~answers.is_unsure, answers.score),
            "all": Pile(np.ones(len(part), dtype=np.bool_), answers.score),
        }
    ng = ng_scores(part.scores, good)
    is_bad, called_bad = known & (part.truth != good), answers.predicted != good
    margin = np.abs(ng - threshold)
    return {
        "missed": Pile(is_bad & ~called_bad, ng),
        "false_alarms": Pile(known & ~is_bad & called_bad, -ng),
        "mixed_up": Pile(is_bad & called_bad & ~right, -answers.score),
        "unsure": Pile(margin <= CLOSE_CALL, margin),
        "right": Pile(known & right, margin),
        "all": Pile(np.ones(len(part), dtype=np.bool_), margin),
    }


def narrowed(pile: Pile, part: SplitArrays, answers: Answers, *, true: int | None, predicted: int | None) -> Pile:
    """Keep the images labelled with class index `true` and answered with class index `predicted` (None: any).

    With both it is a cell of the matrix, which counts answers only: unsure images are in no cell.
    """
    chosen = pile.chosen
    if true is not None:
        chosen = chosen & (part.truth == true)
    if predicted is not None:
        chosen = chosen & (answers.predicted == predicted)
    if true is not None and predicted is not None:
        chosen = chosen & ~answers.is_unsure
    return Pile(chosen, pile.rank)


def tabs_of(piles: dict[str, Pile], manifest: BundleManifest) -> tuple[GalleryTab, ...]:
    return tuple(
        GalleryTab(key, KINDS[key].title, len(piles[key]), KINDS[key].empty, KINDS[key].hint)
        for key in kinds_for(manifest)
    )


def page_rows(pile: Pile, image_ids: Ints, cursor: str | None, limit: int) -> tuple[list[int], str | None]:
    """Return the row numbers of one page of a pile, and the cursor of what follows.

    Raises:
        Invalid: `cursor` is none of ours.
    """
    rows = np.flatnonzero(pile.chosen)
    rank, ids = pile.rank[rows], image_ids[rows]
    if cursor is not None:
        last_rank, last_id = _position(cursor)
        after = (rank > last_rank) | ((rank == last_rank) & (ids > last_id))
        rows, rank, ids = rows[after], rank[after], ids[after]
    order = np.lexsort((ids, rank))[: limit + 1]
    page = rows[order[:limit]]
    if len(order) <= limit:
        return page.tolist(), None
    last = page[-1]
    return page.tolist(), encode_cursor(float(pile.rank[last]), int(image_ids[last]))


def _position(cursor: str) -> tuple[float, int]:
    rank, image_id = decode_cursor(cursor, 2)
    if isinstance(rank, str | None) or not isinstance(image_id, int) or not abs(rank) <= 1:
        raise Invalid("This page link is not valid. Start again from the first page.")
    return float(rank), image_id
