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


class Split(StrEnum):
    """The part of a dataset that an image belongs to.

    A model is fitted on `train`, its choices and thresholds on `dev`; `test` is looked at only to report.
    """

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"
