"""What is said of a model in numbers, each with its uncertainty: the one definition, for training, pages and REST.

K is the number of classes, N of images, B of bootstrap samples. A *grid* is (K, K + 1): row the labelled class, column
the predicted one, the last column for images that the model is unsure of.

Source: precision, recall and F1 as in C. J. van Rijsbergen, Information Retrieval, 1979, chapter 7.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from app.contracts.bundle import BundleManifest
from app.inference.array_types import Floats, Ints
from app.inference.bootstrap import Estimate, draw_counts, estimate, ratio
from app.inference.calibration import reliability_of
from app.inference.decision import Answers, answers_of, good_index_of
from app.inference.ranking import auroc_of

_HEADLINES = ("f1", "precision", "recall", "accuracy", "answered")


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against all others."""

    n_labelled: int
    n_predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """One split at one threshold.

    With a good class, precision, recall and F1 are those of finding defective parts, whichever defect it is called;
    without one, they are means over the classes that occur (macro average) among the images that got an answer.
    `accuracy` counts exact classes; `answered` is the share of images that got an answer.
    """

    n_images: int
    grid: Ints
    f1: Estimate
    precision: Estimate
    recall: Estimate
    accuracy: Estimate
    answered: Estimate
    classes: tuple[ClassFigures, ...]


class SplitMetrics(BaseModel):
    """The figures of one split that a model keeps: those of `Figures`, with AUROC and calibration error beside them.

    `ece` is the expected calibration error in [0, 1], None without images. `average_precision` is the area under the
    curve of precision against recall of finding defective parts; None where the training did not measure it.
    `pixel_auroc` and `aupro` say how well an anomaly map finds what people marked; None where no mask was given.
    """

    model_config = ConfigDict(frozen=True)

    n_images: int
    f1: Estimate
    precision: Estimate
    recall: Estimate
    accuracy: Estimate
    answered: Estimate
    auroc: Estimate
    ece: float | None
    average_precision: float | None = None
    pixel_auroc: float | None = None
    aupro: float | None = None


def measure(truth: Ints, scores: Floats, manifest: BundleManifest) -> SplitMetrics:
    """Return the figures of one split at the manifest's own threshold.

    Args:
        truth: (N,) indices of the manifest's classes.
        scores: Calibrated scores (N, K).
    """
    good, n_classes = good_index_of(manifest), len(manifest.categories)
    figures = figures_of(grid_of(truth, answers_of(scores, manifest), n_classes), good)
    return SplitMetrics(
        n_images=figures.n_images,
        auroc=auroc_of(truth, scores, good),
        ece=reliability_of(truth, scores)[1],
        **{name: getattr(figures, name) for name in _HEADLINES},
    )


def grid_of(truth: Ints, answers: Answers, n_classes: int) -> Ints:
    """Count images by labelled and predicted class, (K, K + 1). `truth` is (N,), every value in 0..K-1."""
    column = np.where(answers.is_unsure, n_classes, answers.predicted)
    flat = np.bincount(truth * (n_classes + 1) + column, minlength=n_classes * (n_classes + 1))
    return flat.reshape(n_classes, n_classes + 1)


def figures_of(grid: Ints, good: int | None) -> Figures:
    """Return all figures that follow from a grid, with intervals. See `Figures`."""
    n_images, n_classes = int(grid.sum()), len(grid)
    drawn = draw_counts(grid)
    values, samples = measures(grid, good), measures(drawn, good)
    n_of = _denominators(grid, good)
    head = {name: estimate(float(values[name]), samples[name], n_of[name]) for name in _HEADLINES}
    per_class, per_class_samples = class_measures(grid), class_measures(drawn)
    classes = tuple(
        ClassFigures(
            n_labelled=int(grid[k].sum()),
            n_predicted=int(grid[:, k].sum()),
            **{
                name: estimate(float(per_class[name][k]), per_class_samples[name][:, k], int(per_class["n_" + name][k]))
                for name in ("precision", "recall", "f1")
            },
        )
        for k in range(n_classes)
    )
    return Figures(n_images=n_images, grid=grid, classes=classes, **head)


def measures(grid: Ints, good: int | None) -> dict[str, Floats]:
    """Return F1, precision, recall, accuracy and the share answered of grids (..., K, K + 1); NaN where undefined."""
    answered = grid[..., :-1]
    n_answered, n_images = answered.sum(axis=(-2, -1)), grid.sum(axis=(-2, -1))
    right = np.trace(answered, axis1=-2, axis2=-1)
    out = {"accuracy": ratio(right, n_answered), "answered": ratio(n_answered, n_images)}
    if good is not None:
        false_alarms = answered[..., good, :].sum(axis=-1) - answered[..., good, good]
        missed = answered[..., :, good].sum(axis=-1) - answered[..., good, good]
        found = n_answered - answered[..., good, good] - false_alarms - missed
        return out | precision_recall_f1(found, false_alarms, missed)
    each = class_measures(grid)
    occurs = answered.sum(axis=-1) > 0
    for name in ("precision", "recall", "f1"):
        # A class that is labelled but never predicted has found nothing: its precision counts as 0 in the mean.
        known = np.where(occurs, np.nan_to_num(each[name]), 0.0)
        out[name] = ratio(known.sum(axis=-1), occurs.sum(axis=-1))
    return out


def class_measures(grid: Ints) -> dict[str, Floats]:
    """Return precision, recall and F1 of each class, (..., K), and behind `n_` what each is a share of."""
    answered = grid[..., :-1]
    hits = np.diagonal(answered, axis1=-2, axis2=-1)
    wrongly = answered.sum(axis=-2) - hits
    missed = answered.sum(axis=-1) - hits
    return precision_recall_f1(hits, wrongly, missed) | {
        "n_precision": hits + wrongly,
        "n_recall": hits + missed,
        "n_f1": hits + wrongly + missed,
    }


def precision_recall_f1(hits: Ints, wrongly: Ints, missed: Ints) -> dict[str, Floats]:
    """Return the three from counts of one shape: found rightly, found wrongly, not found; NaN where undefined."""
    return {
        "precision": ratio(hits, hits + wrongly),
        "recall": ratio(hits, hits + missed),
        "f1": ratio(2 * hits, 2 * hits + wrongly + missed),
    }


def _denominators(grid: Ints, good: int | None) -> dict[str, int]:
    """Return of how many images each headline figure is a share."""
    n_images, n_answered = int(grid.sum()), int(grid[:, :-1].sum())
    if good is None:
        return {"f1": n_answered, "precision": n_answered, "recall": n_answered} | {
            "accuracy": n_answered,
            "answered": n_images,
        }
    n_bad = n_answered - int(grid[good, :-1].sum())
    n_called_bad = n_answered - int(grid[:, good].sum())
    either = n_answered - int(grid[good, good])
    return {"f1": either, "precision": n_called_bad, "recall": n_bad, "accuracy": n_answered, "answered": n_images}
