"""The one figure by which models of a task are listed."""

from collections.abc import Mapping
from typing import Any

from app.contracts.tasks import TaskType

HEADLINES: dict[TaskType, tuple[str, str]] = {
    TaskType.CLASSIFICATION: ("F1", "f1"),
    TaskType.ANOMALY: ("F1", "f1"),
    TaskType.DETECTION: ("mAP50", "map50"),
    TaskType.SEGMENTATION: ("Mean IoU", "mean_iou"),
}
"""Its name for people, and the member of a split's metrics that holds it as value, low and high."""


def headline_of(task: TaskType, metrics: Mapping[str, Any] | None, split: str) -> dict[str, Any] | None:
    """Return a split's figure as value, low and high; None where the split does not define it."""
    figure = ((metrics or {}).get(split) or {}).get(HEADLINES[task][1])
    return figure if isinstance(figure, dict) and figure.get("value") is not None else None
