"""The rows of `prediction` that a model leaves, by what its task answers with."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from app.contracts.bundle import BundleManifest
from app.contracts.predictions import ImagePrediction
from app.contracts.tasks import TaskType
from app.inference.decision import answers_of, decide_shapes, good_index_of, ng_scores

Rows = list[dict[str, Any]]


def class_rows(manifest: BundleManifest, predictions: Sequence[ImagePrediction]) -> Rows:
    """Return the rows of a model that answers with a class, at its own threshold."""
    scores = np.asarray([item.scores for item in predictions], dtype=np.float64)
    good = good_index_of(manifest)
    answers = answers_of(scores, manifest)
    ids = np.asarray([category.id for category in manifest.categories])[answers.predicted].tolist()
    ng = ng_scores(scores, good).tolist() if good is not None else [None] * len(predictions)
    return [
        _common(item)
        | {
            "predicted_category_id": predicted_id,
            "score": score,
            "ng_score": ng_score,
            "is_wrong": None if item.true_category_id is None else item.true_category_id != predicted_id,
        }
        for item, predicted_id, score, ng_score in zip(predictions, ids, answers.score.tolist(), ng, strict=True)
    ]


def shape_rows(manifest: BundleManifest, predictions: Sequence[ImagePrediction]) -> Rows:
    """Return the rows of a model that finds shapes, at its own threshold."""
    return [_shape_row(item, manifest) for item in predictions]


def _shape_row(item: ImagePrediction, manifest: BundleManifest) -> dict[str, Any]:
    limit = manifest.decision.threshold
    decision = decide_shapes(item.shapes, limit)
    best = next((shape for shape in item.shapes if shape.score >= limit), None)
    return _common(item) | {
        "predicted_category_id": manifest.categories[best.category_index].id if best else None,
        "score": decision.score,
        "ng_score": decision.ng_score,
        "is_wrong": None if item.split is None else _is_wrong(item, limit),
        "shapes": _stored(item),
        "drawn": [value.model_dump(mode="json", exclude_none=True) for value in item.drawn],
    }


def _is_wrong(item: ImagePrediction, limit: float) -> bool:
    """Tell whether something is missed at a threshold, or found in excess."""
    own = [match.own for shape, match in zip(item.shapes, item.matches, strict=True) if shape.score >= limit]
    return None in own or len(set(own)) < len(item.drawn)


def _stored(item: ImagePrediction) -> list[dict[str, Any]]:
    shapes = [shape.model_dump(mode="json", exclude_none=True) for shape in item.shapes]
    matches = [match.model_dump(mode="json", exclude_none=True) for match in item.matches]
    return [shape | match for shape, match in zip(shapes, matches or [{}] * len(shapes), strict=True)]


def _common(item: ImagePrediction) -> dict[str, Any]:
    return {
        "image_id": item.image_id,
        "split": str(item.split) if item.split else None,
        "true_category_id": item.true_category_id,
        "scores": [float(value) for value in item.scores],  # whole: a threshold may lie on a score
    }


ROWS: dict[TaskType, Callable[[BundleManifest, Sequence[ImagePrediction]], Rows]] = {
    TaskType.CLASSIFICATION: class_rows,
    TaskType.ANOMALY: class_rows,
    TaskType.DETECTION: shape_rows,
    TaskType.SEGMENTATION: shape_rows,
}
"""What each task's predictions are stored as."""
