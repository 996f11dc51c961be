"""Whether there is enough to learn from, and what is missing, in words. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from app.contracts.strokes import Stroke
from app.contracts.tasks import TaskType
from app.core.errors import Invalid
from app.core.words import named

MIN_EACH = 2
"""Images of each class without which nothing can be held out."""
MIN_NORMAL = 10
"""Good images without which an anomaly model knows too little of what is normal."""


class DatasetNotReady(Invalid):
    """Too few labelled images to train on; the sentence says what is missing."""

    code, title = "dataset_not_ready", "Not enough labelled images"


class Named(Protocol):
    """A class as a row of the database or as a page knows it."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def is_good(self) -> bool: ...


def count_holdings(categories: Sequence[Named], holdings: Iterable[frozenset[int]]) -> dict[int, int]:
    """Return how many images hold each class, from the classes that each labelled image holds."""
    counts = dict.fromkeys((category.id for category in categories), 0)
    for holding in holdings:
        for category_id in holding:
            counts[category_id] += 1
    return counts


def check_enough(
    task: TaskType, categories: Sequence[Named], counts: Mapping[int, int], min_per_category: int = MIN_EACH
) -> None:
    """Refuse a project whose labels no model can be fitted on.

    Args:
        task: What the project learns.
        categories: Its classes.
        counts: How many images hold each class, by its id.
        min_per_category: Least number of images that each class needs; an anomaly project needs good ones alone.

    Raises:
        DatasetNotReady: The sentence says what is missing.
    """
    _check_classes(task, categories)
    if not any(counts.values()):
        each = f"{MIN_NORMAL} good ones" if task is TaskType.ANOMALY else f"{min_per_category} of each class"
        raise DatasetNotReady(f"No image has a label yet. Label at least {each}.", counts={})
    if task is TaskType.ANOMALY:
        n_good = sum(counts[category.id] for category in categories if category.is_good)
        if n_good < MIN_NORMAL:
            raise DatasetNotReady(
                f"Anomaly detection learns what good parts look like from at least {MIN_NORMAL} images of them; "
                f"{n_good or 'none'} {'is' if n_good < 2 else 'are'} labelled so.",
                counts={category.name: counts[category.id] for category in categories},
            )
        return
    few = [category for category in categories if counts[category.id] < min_per_category]
    if few:
        listed = named(f"“{category.name}” ({counts[category.id]})" for category in few)
        raise DatasetNotReady(
            f"Each class needs at least {min_per_category} labelled images. Too few: {listed}. "
            "Label more of them, or delete the class.",
            counts={category.name: counts[category.id] for category in few},
        )


def check_painted(categories: Sequence[Named], painted: Iterable[Iterable[Stroke]]) -> None:
    """Refuse strokes that show no class of the project; `painted` is the strokes of each image.

    Raises:
        DatasetNotReady: There is none.
    """
    known = {category.id for category in categories}
    if not any(stroke.category_id in known for strokes in painted for stroke in strokes):
        raise DatasetNotReady("No stroke shows a class yet. Paint one under Label, Prompt.")


def check_trainable(task: TaskType, categories: Sequence[Named], trained: Iterable[frozenset[int]]) -> None:
    """Refuse a dataset with a class that no image of train holds; `trained` is the classes of each of them.

    Raises:
        DatasetNotReady: The sentence names the classes.
    """
    held = frozenset().union(*trained)
    needed = [category for category in categories if category.is_good] if task is TaskType.ANOMALY else categories
    missing = [category for category in needed if category.id not in held]
    if missing:
        listed = named(f"“{category.name}”" for category in missing)
        raise DatasetNotReady(f"No image of {listed} is in the train split. Move some there, or use Auto split.")


def _check_classes(task: TaskType, categories: Sequence[Named]) -> None:
    if task is TaskType.CLASSIFICATION and len(categories) < 2:
        raise DatasetNotReady("A classifier tells at least two classes apart. Add a second class and label its images.")
    if task is TaskType.ANOMALY and not any(category.is_good for category in categories):
        raise DatasetNotReady("No class is marked as good, so nobody knows what is normal. Mark one under Classes.")
    if task.has_shapes and not categories:
        raise DatasetNotReady("There is no class yet. Add one, and mark where it is on some images.")
