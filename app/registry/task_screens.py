"""Which screens show which task's models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.contracts.tasks import TaskType
from app.registry import class_screens, screens, shape_screens
from app.registry.schemas import GalleryPage, GalleryView
from app.registry.screens import ComparisonView


@dataclass(frozen=True)
class TaskScreens:
    """What the pages of a model are made of; see `app.registry.class_screens` for what each is called with.

    A report and a view of an image name the `template` that shows them.
    """

    report: Callable[..., tuple[Any, GalleryPage]]
    gallery: Callable[..., GalleryView]
    find_image_view: Callable[..., Any]
    comparison: Callable[..., ComparisonView]


_CLASSES = TaskScreens(
    class_screens.report, class_screens.gallery, class_screens.find_image_view, screens.class_comparison
)
_SHAPES = TaskScreens(
    shape_screens.report, shape_screens.gallery, shape_screens.find_image_view, shape_screens.comparison
)

SCREENS: dict[TaskType, TaskScreens] = {
    TaskType.CLASSIFICATION: _CLASSES,
    TaskType.ANOMALY: _CLASSES,
    TaskType.DETECTION: _SHAPES,
    TaskType.SEGMENTATION: _SHAPES,
}
