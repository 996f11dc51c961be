"""Which training answers which task."""

from collections.abc import Callable

from app.contracts.tasks import TaskType
from worker.ml.training.anomaly import train_anomaly
from worker.ml.training.classification import train_classification
from worker.ml.training.result import TrainedModel

Train = Callable[..., TrainedModel]
"""Called as `train_classification` is: spec and dataset first, the rest by name."""

TRAININGS: dict[TaskType, Train] = {
    TaskType.CLASSIFICATION: train_classification,
    TaskType.ANOMALY: train_anomaly,
}
