"""Two models that find shapes, on the same images."""

from dataclasses import dataclass, replace

import numpy as np

from app.contracts.bundle import BundleManifest
from app.contracts.tasks import TaskType
from app.inference.array_types import Bools, Floats, Ints
from app.inference.bootstrap import Difference, draw_weights, estimate, percentiles
from app.inference.shape_figures import FoundShapes, counts_by_image, figures_at, mean_ap50, rates, wrong_images
from app.registry.comparison import CELLS, Agreement, Compared, n_leaked, union_of
from app.registry.schemas import ClassMark
from app.registry.shape_arrays import ModelShapes, ShapeSplit

FIGURES = (("f1", "F1"), ("precision", "Precision"), ("recall", "Recall"))
_N_RANKED = 250  # bootstrap samples of a figure that ranks all finds anew in each


@dataclass(frozen=True, eq=False)
class ShapeComparison(Agreement):
    """What two models find on the images that are in the same split of both.

    An image is right where nothing is missed and nothing found in excess. `n_relabelled` were drawn on between the two
    datasets and are left out, as are the `n_leaked` that one model holds out and the other was fitted on.
    """

    split: str
    marks: tuple[ClassMark, ...]
    image_ids: Ints
    is_wrong: tuple[Bools, Bools]
    rows: tuple[Compared, ...]
    n_first: int
    n_second: int
    n_leaked: int
    n_relabelled: int

    def rights(self) -> tuple[Bools, Bools]:
        return ~self.is_wrong[0], ~self.is_wrong[1]


Side = tuple[BundleManifest, ModelShapes, float]
"""A model's manifest, all that it found, and its threshold."""


def compare(first: Side, second: Side, split: str) -> ShapeComparison:
    """Return two models side by side on a split."""
    marks = union_of(first[0], second[0])
    parts = first[1].of(split), second[1].of(split)
    _, *rows = np.intersect1d(parts[0].image_ids, parts[1].image_ids, assume_unique=True, return_indices=True)
    is_same = parts[0].drawn_keys[rows[0]] == parts[1].drawn_keys[rows[1]]
    chosen = [
        _only(part, rows_of[is_same], _places(side[0], marks), len(marks))
        for part, rows_of, side in zip(parts, rows, (first, second), strict=True)
    ]
    limits = first[2], second[2]
    return ShapeComparison(
        split=split,
        marks=marks,
        image_ids=parts[0].image_ids[rows[0][is_same]],
        is_wrong=(wrong_images(chosen[0], limits[0]), wrong_images(chosen[1], limits[1])),
        rows=(*_compared(chosen, limits), *_ranked(first[0].task, chosen)) if is_same.any() else (),
        n_first=len(parts[0]),
        n_second=len(parts[1]),
        n_leaked=n_leaked(parts[0], second[1], parts[1], first[1]) if split != "train" else 0,
        n_relabelled=int((~is_same).sum()),
    )


def _compared(sides: list[FoundShapes], limits: tuple[float, float]) -> tuple[Compared, ...]:
    totals = [figures_at(side, limit).total for side, limit in zip(sides, limits, strict=True)]
    counts = [counts_by_image(side, limit).sum(axis=1) for side, limit in zip(sides, limits, strict=True)]
    weights = draw_weights(sides[0].n_images)
    samples = [rates(weights @ each) for each in counts]
    return tuple(
        Compared(
            title,
            getattr(totals[0], name),
            getattr(totals[1], name),
            _gap(getattr(totals[0], name).value, getattr(totals[1], name).value, samples[1][name] - samples[0][name]),
        )
        for name, title in FIGURES
    )


def _ranked(task: TaskType, sides: list[FoundShapes]) -> tuple[Compared, ...]:
    """Return mAP50 where finds are matched by the overlap of boxes: at no threshold, so all finds count."""
    if task is not TaskType.DETECTION or not sides[0].n_drawn:
        return ()
    whole = [float(mean_ap50(side, np.ones((1, side.n_images)))[0]) for side in sides]
    weights = draw_weights(sides[0].n_images, _N_RANKED)
    samples = [mean_ap50(side, weights) for side in sides]
    figures = [estimate(value, drawn, sides[0].n_drawn) for value, drawn in zip(whole, samples, strict=True)]
    return (Compared("mAP50", figures[0], figures[1], _gap(whole[0], whole[1], samples[1] - samples[0])),)


def _gap(first: float | None, second: float | None, samples: Floats) -> Difference:
    """Return second minus first, resampled on the same images."""
    known = samples[~np.isnan(samples)]
    if first is None or second is None or not len(known):
        return Difference()
    return Difference(second - first, *percentiles(known))


def _places(manifest: BundleManifest, marks: tuple[ClassMark, ...]) -> Ints:
    place = {mark.id: index for index, mark in enumerate(marks)}
    return np.array([place[item.id] for item in manifest.categories], dtype=np.int64)


def _only(part: ShapeSplit, rows: Ints, classes: Ints, n_classes: int) -> FoundShapes:
    """Return the shapes of some images, their classes named as both models have them."""
    shapes, image = part.shapes, np.full(len(part), -1, dtype=np.int64)
    image[rows] = np.arange(len(rows))
    drawn, found = image[shapes.drawn_image] >= 0, image[shapes.find_image] >= 0
    place = np.append(np.cumsum(drawn) - 1, -1)  # of each drawn shape among those kept; -1 stays -1
    return replace(
        shapes,
        n_images=len(rows),
        n_classes=n_classes,
        drawn_image=image[shapes.drawn_image[drawn]],
        drawn_class=classes[shapes.drawn_class[drawn]],
        find_image=image[shapes.find_image[found]],
        find_class=classes[shapes.find_class[found]],
        find_score=shapes.find_score[found],
        find_own=place[shapes.find_own[found]],
        find_any=place[shapes.find_any[found]],
        memo={},
    )


__all__ = ["CELLS", "ShapeComparison", "compare"]
