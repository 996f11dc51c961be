"""Two models on the same images."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.contracts.bundle import BundleManifest
from app.core.errors import Invalid
from app.core.pagination import decode_cursor, encode_cursor
from app.inference.array_types import Bools, Floats, Ints
from app.inference.bootstrap import Difference, Estimate, difference
from app.inference.decision import Answers, answers_of, good_index_of
from app.inference.metrics import figures_of, grid_of, measures
from app.inference.ranking import auroc_pair
from app.registry.arrays import ModelArrays, SplitArrays
from app.registry.schemas import ClassMark

CELLS = {
    "both_right": "Both right",
    "only_a": "Only A right",
    "only_b": "Only B right",
    "both_wrong": "Both wrong",
}
FIGURES = (("f1", "F1"), ("precision", "Precision"), ("recall", "Recall"), ("accuracy", "Accuracy"))


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both models and the second minus the first, resampled on the same images."""

    name: str
    first: Estimate
    second: Estimate
    gap: Difference

    @property
    def verdict(self) -> str:
        """Say what the interval of the difference allows to say."""
        if self.gap.low is None or self.gap.high is None:
            return "n/a"
        if self.gap.low > 0:
            return "B is better"
        return "A is better" if self.gap.high < 0 else "no difference shown"


class Agreement(ABC):
    """The images that two models share, by who is right on them."""

    image_ids: Ints

    def __len__(self) -> int:
        return len(self.image_ids)

    @abstractmethod
    def rights(self) -> tuple[Bools, Bools]:
        """Return where the first model is right, and the second."""

    def cell(self, name: str) -> Bools:
        """Return which images are in a cell of the agreement table."""
        a, b = self.rights()
        return {"both_right": a & b, "only_a": a & ~b, "only_b": ~a & b, "both_wrong": ~a & ~b}[name]

    @property
    def counts(self) -> dict[str, int]:
        return {name: int(self.cell(name).sum()) for name in CELLS}

    def page(self, name: str, cursor: str | None, limit: int) -> tuple[list[int], str | None]:
        """Return the row numbers of one page of a cell, in the order of the image ids. Raises `Invalid`."""
        rows = np.flatnonzero(self.cell(name))
        if cursor is not None:
            (last,) = decode_cursor(cursor, 1)
            if not isinstance(last, int):
                raise Invalid("This page link is not valid. Start again from the first page.")
            rows = rows[self.image_ids[rows] > last]
        page = rows[:limit]
        return page.tolist(), encode_cursor(int(self.image_ids[page[-1]])) if len(rows) > limit else None


@dataclass(frozen=True, eq=False)
class Comparison(Agreement):
    """What two models say of the images that are in the same split of both.

    `n_relabelled` of them got another class between the two datasets and are left out, as are the `n_leaked` that one
    model holds out and the other was fitted on. An unsure answer is not right.
    """

    split: str
    marks: tuple[ClassMark, ...]
    image_ids: Ints
    truth: Ints
    first: Answers
    second: Answers
    rows: tuple[Compared, ...]
    n_first: int
    n_second: int
    n_leaked: int
    n_relabelled: int

    def rights(self) -> tuple[Bools, Bools]:
        return _is_right(self.first, self.truth), _is_right(self.second, self.truth)


def compare(
    first: tuple[BundleManifest, ModelArrays, float], second: tuple[BundleManifest, ModelArrays, float], split: str
) -> Comparison:
    """Return two models side by side; each is (manifest, predictions, threshold)."""
    (manifest_a, arrays_a, threshold_a), (manifest_b, arrays_b, threshold_b) = first, second
    marks = union_of(manifest_a, manifest_b)
    part_a, part_b = arrays_a.of(split), arrays_b.of(split)
    _, rows_a, rows_b = np.intersect1d(part_a.image_ids, part_b.image_ids, assume_unique=True, return_indices=True)
    truth_a, truth_b = (
        _places(manifest, marks)[part.truth[rows]] if len(rows) else np.zeros(0, dtype=np.int64)
        for manifest, part, rows in ((manifest_a, part_a, rows_a), (manifest_b, part_b, rows_b))
    )
    same = truth_a == truth_b
    rows_a, rows_b, truth = rows_a[same], rows_b[same], truth_a[same]
    scores_a, scores_b = _spread(manifest_a, marks, part_a, rows_a), _spread(manifest_b, marks, part_b, rows_b)
    answers_a = _answers(manifest_a, marks, part_a, rows_a, threshold_a)
    answers_b = _answers(manifest_b, marks, part_b, rows_b, threshold_b)
    good = _common_good(manifest_a, manifest_b, marks)
    return Comparison(
        split=split,
        marks=marks,
        image_ids=part_a.image_ids[rows_a],
        truth=truth,
        first=answers_a,
        second=answers_b,
        rows=_compared(truth, (answers_a, scores_a), (answers_b, scores_b), len(marks), good) if len(truth) else (),
        n_first=len(part_a),
        n_second=len(part_b),
        n_leaked=n_leaked(part_a, arrays_b, part_b, arrays_a) if split != "train" else 0,
        n_relabelled=int((~same).sum()),
    )


def _compared(
    truth: Ints, first: tuple[Answers, Floats], second: tuple[Answers, Floats], n_classes: int, good: int | None
) -> tuple[Compared, ...]:
    figures = [figures_of(grid_of(truth, answers, n_classes), good) for answers, _ in (first, second)]
    # Images of one kind (labelled, answered by A, answered by B) are alike to every figure: kinds are resampled.
    size = n_classes * (n_classes + 1)
    cells = [_cell_codes(truth, answers, n_classes) for answers, _ in (first, second)]
    kinds, counts = np.unique(cells[0] * size + cells[1], return_counts=True)

    def grids(drawn: NDArray[np.int64], codes: Ints) -> NDArray[np.int64]:
        out = np.zeros((len(drawn), size), dtype=np.int64)
        for column, code in enumerate(codes):
            out[:, code] += drawn[:, column]
        return out.reshape(len(drawn), n_classes, n_classes + 1)

    rows = [
        Compared(
            title,
            getattr(figures[0], name),
            getattr(figures[1], name),
            difference(
                counts,
                lambda drawn, name=name: measures(grids(drawn, kinds // size), good)[name],
                lambda drawn, name=name: measures(grids(drawn, kinds % size), good)[name],
            ),
        )
        for name, title in FIGURES
    ]
    return (*rows, Compared("AUROC", *auroc_pair(truth, first[1], second[1], good)))


def _cell_codes(truth: Ints, answers: Answers, n_classes: int) -> Ints:
    return truth * (n_classes + 1) + np.where(answers.is_unsure, n_classes, answers.predicted)


def union_of(first: BundleManifest, second: BundleManifest) -> tuple[ClassMark, ...]:
    """Return the classes of both, the second's newer names and colours first."""
    found = {item.id: item for item in first.categories} | {item.id: item for item in second.categories}
    return tuple(ClassMark(item.id, item.name, item.color, item.is_good) for item in found.values())


def _places(manifest: BundleManifest, marks: tuple[ClassMark, ...]) -> Ints:
    place = {mark.id: index for index, mark in enumerate(marks)}
    return np.array([place[item.id] for item in manifest.categories], dtype=np.int64)


def _spread(manifest: BundleManifest, marks: tuple[ClassMark, ...], part: SplitArrays, rows: Ints) -> Floats:
    """Return scores over the classes of both models; a class that a model does not know has score 0."""
    out = np.zeros((len(rows), len(marks)))
    if len(rows):
        out[:, _places(manifest, marks)] = part.scores[rows]
    return out


def _answers(
    manifest: BundleManifest, marks: tuple[ClassMark, ...], part: SplitArrays, rows: Ints, threshold: float
) -> Answers:
    if not len(rows):
        return Answers(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.bool_))
    answers = answers_of(part.scores[rows], manifest, threshold)
    return Answers(_places(manifest, marks)[answers.predicted], answers.score, answers.is_unsure)


def _common_good(first: BundleManifest, second: BundleManifest, marks: tuple[ClassMark, ...]) -> int | None:
    places = [good_index_of(manifest) for manifest in (first, second)]
    ids = {
        manifest.categories[place].id
        for manifest, place in zip((first, second), places, strict=True)
        if place is not None
    }
    if None in places or len(ids) != 1:
        return None
    (good_id,) = ids
    return next(index for index, mark in enumerate(marks) if mark.id == good_id)


class HasImages(Protocol):
    """A split of a model's predictions, of whatever task."""

    @property
    def image_ids(self) -> Ints: ...


class HasSplits(Protocol):
    """All predictions of a model, of whatever task."""

    def of(self, split: str) -> HasImages: ...


def n_leaked(part_a: HasImages, all_b: HasSplits, part_b: HasImages, all_a: HasSplits) -> int:
    """Return how many images of a split of one model were in the train split of the other."""
    seen_by_b = np.isin(part_a.image_ids, all_b.of("train").image_ids).sum()
    seen_by_a = np.isin(part_b.image_ids, all_a.of("train").image_ids).sum()
    return int(seen_by_a + seen_by_b)


def _is_right(answers: Answers, truth: Ints) -> Bools:
    return (answers.predicted == truth) & ~answers.is_unsure
