"""Which training answers which task."""

from collections.abc import Callable
from typing import Any

from app.catalog import METHODS
from app.contracts.jobs import TrainSpec
from app.contracts.tasks import TaskType
from worker.ml.training.anomaly import train_anomaly
from worker.ml.training.classification import train_classification
from worker.ml.training.result import TrainedModel

Train = Callable[..., TrainedModel]
"""Called as `train_classification` is: spec and dataset first, the rest by name."""


def _train_detection(*given: Any, **named: Any) -> TrainedModel:
    # Imports torch, which the other tasks do without.
    from worker.ml.training.detection import train_detection

    return train_detection(*given, **named)


def _train_segmentation(spec: TrainSpec, *given: Any, **named: Any) -> TrainedModel:
    if METHODS[spec.method].is_painted:
        from worker.ml.training.prompting import train_prompted

        return train_prompted(spec, *given, **named)
    from worker.ml.training.segmentation import train_segmentation

    return train_segmentation(spec, *given, **named)


TRAININGS: dict[TaskType, Train] = {
    TaskType.CLASSIFICATION: train_classification,
    TaskType.ANOMALY: train_anomaly,
    TaskType.DETECTION: _train_detection,
    TaskType.SEGMENTATION: _train_segmentation,
}
