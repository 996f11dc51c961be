"""What a project learns to do."""

from enum import StrEnum


class TaskType(StrEnum):
    """The kind of answer that a project's models give.

    The values are the ones of the public REST contract (`projectType`), so they are stored and sent as they are.
    """

    CLASSIFICATION = "classification"
    DETECTION = "object-detection"
    SEGMENTATION = "segmentation"
    ANOMALY = "anomaly-detection"

    @property
    def has_shapes(self) -> bool:
        """Whether images are labelled with boxes, polygons or masks; else each carries one class."""
        return self in {TaskType.DETECTION, TaskType.SEGMENTATION}

    @property
    def shape_kinds(self) -> frozenset[str]:
        """The kinds of annotation that say where a defect is; see `app.contracts.shapes.SHAPE_KINDS`."""
        if self is TaskType.DETECTION:
            return frozenset({"box"})
        return frozenset({"polygon", "mask"}) if self is TaskType.SEGMENTATION else frozenset()


class Split(StrEnum):
    """The part of a dataset that an image belongs to.

    A model is fitted on `train`, its choices and thresholds on `dev`; `test` is looked at only to report.
    """

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"
