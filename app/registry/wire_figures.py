"""A model's figures as the REST contract has them, by task; at the model's own threshold."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from app.contracts.bundle import BundleManifest
from app.contracts.tasks import TaskType
from app.db.tables import ModelVersion
from app.inference.bootstrap import Estimate
from app.inference.decision import answers_of, good_index_of
from app.inference.metrics import ClassFigures, Figures, figures_of, grid_of
from app.inference.shape_figures import ClassCounts, ShapeFigures, figures_at
from app.registry.arrays import arrays_of
from app.registry.schemas import (
    SPLITS,
    ClassPerformance,
    ConfusionCount,
    NamedPerformance,
    SplitConfusion,
    SplitMetrics,
)
from app.registry.shape_arrays import shapes_of

NOTHING = 0  # the class of a shape that was missed, or found where nothing is drawn

Rated = Figures | ClassFigures | ClassCounts


@dataclass(frozen=True)
class WireFigures:
    """How a task's figures are made; each is called with the session, the model and its manifest."""

    metrics: Callable[[Session, ModelVersion, BundleManifest], list[SplitMetrics]]
    confusion: Callable[[Session, ModelVersion, BundleManifest], list[SplitConfusion]]


def class_metrics(session: Session, model: ModelVersion, manifest: BundleManifest) -> list[SplitMetrics]:
    """Return F1, recall and precision of each split and class where images have a class each."""
    found = _class_splits(session, model, manifest)
    return [_split_metrics(split, figures, figures.classes, manifest) for split, figures in found]


def shape_metrics(session: Session, model: ModelVersion, manifest: BundleManifest) -> list[SplitMetrics]:
    """Return F1, recall and precision of each split and class where shapes are found."""
    found = _shape_splits(session, model, manifest)
    return [_split_metrics(split, figures.total, figures.classes, manifest) for split, figures in found]


def _split_metrics(split: str, total: Rated, classes: Sequence[Rated], manifest: BundleManifest) -> SplitMetrics:
    return SplitMetrics(
        name=split,
        classes=[
            ClassPerformance(
                id=category.id, performance=_value(one.f1), recall=_value(one.recall), precision=_value(one.precision)
            )
            for category, one in zip(manifest.categories, classes, strict=True)
        ],
        metrics=[
            NamedPerformance(
                name="F1",
                performance=_value(total.f1),
                recall=_value(total.recall),
                precision=_value(total.precision),
            )
        ],
    )


def _value(estimate: Estimate) -> float | None:
    return estimate.value


def class_confusion(session: Session, model: ModelVersion, manifest: BundleManifest) -> list[SplitConfusion]:
    """Sort the counts of images. Without a good class there is no negative side: every error is a misclassification."""
    good, ids = good_index_of(manifest), [category.id for category in manifest.categories]
    return [
        _confusion(split, figures.grid[:, :-1], ids, nothing=good)
        for split, figures in _class_splits(session, model, manifest)
    ]


def shape_confusion(session: Session, model: ModelVersion, manifest: BundleManifest) -> list[SplitConfusion]:
    """Sort the counts of shapes; `NOTHING` stands for what is not drawn, or not found."""
    ids = [*(category.id for category in manifest.categories), NOTHING]
    return [
        _confusion(split, figures.confusion, ids, nothing=len(ids) - 1)
        for split, figures in _shape_splits(session, model, manifest)
    ]


def _confusion(split: str, grid: np.ndarray, ids: list[int], *, nothing: int | None) -> SplitConfusion:
    found = SplitConfusion(
        name=split,
        correct_predictions=[],
        false_negative_predictions=[],
        false_positive_predictions=[],
        misclassifications=[],
    )
    for truth, predicted in np.argwhere(grid).tolist():
        if truth == predicted:
            target = found.correct_predictions
        elif predicted == nothing:
            target = found.false_negative_predictions
        elif truth == nothing:
            target = found.false_positive_predictions
        else:
            target = found.misclassifications
        target.append(
            ConfusionCount(
                count=int(grid[truth, predicted]),
                ground_truth_class_id=ids[truth],
                predicted_class_id=ids[predicted],
            )
        )
    return found


def _class_splits(session: Session, model: ModelVersion, manifest: BundleManifest) -> Iterator[tuple[str, Figures]]:
    arrays = arrays_of(session, model, manifest)
    for split in reversed(SPLITS):
        part = arrays.of(split)
        if len(part):
            answers = answers_of(part.scores, manifest, model.threshold)
            yield split, figures_of(grid_of(part.truth, answers, len(manifest.categories)), good_index_of(manifest))


def _shape_splits(
    session: Session, model: ModelVersion, manifest: BundleManifest
) -> Iterator[tuple[str, ShapeFigures]]:
    shapes = shapes_of(session, model, manifest)
    for split in reversed(SPLITS):
        part = shapes.of(split)
        if len(part):
            yield split, figures_at(part.shapes, model.threshold)


_CLASSES = WireFigures(class_metrics, class_confusion)
_SHAPES = WireFigures(shape_metrics, shape_confusion)

FIGURES: dict[TaskType, WireFigures] = {
    TaskType.CLASSIFICATION: _CLASSES,
    TaskType.ANOMALY: _CLASSES,
    TaskType.DETECTION: _SHAPES,
    TaskType.SEGMENTATION: _SHAPES,
}
