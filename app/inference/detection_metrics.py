"""The figures of a detector that a model keeps, by split. They are computed where it is trained."""

from pydantic import BaseModel, ConfigDict, Field

from app.inference.bootstrap import Estimate


class ClassFinds(BaseModel):
    """One class. Precision is None where nothing was found, recall where nobody drew it."""

    model_config = ConfigDict(frozen=True)

    n_drawn: int
    n_found: int
    ap50: float | None
    ap50_95: float | None
    precision: float | None
    recall: float | None
    f1: float | None


class ThresholdPoint(BaseModel):
    """All classes together at one threshold."""

    model_config = ConfigDict(frozen=True)

    threshold: float
    n_right: int
    n_extra: int
    n_missed: int
    f1: float | None


class DetectionMetrics(BaseModel):
    """One split. `map50` and `map50_95` are the COCO evaluation's; the rest holds at the default threshold.

    Intervals are 95 %, by resampling images; `map50_95` has none.

    A find is right where it overlaps a drawn box of its class by 0.5 or more (intersection over union); precision,
    recall and F1 count boxes of all classes together. `confusion[drawn][found]` pairs boxes whatever their class; its
    last row is what was found where nothing is, its last column what was missed.
    """

    model_config = ConfigDict(frozen=True)

    n_images: int
    n_drawn: int
    threshold: float
    map50: Estimate
    map50_95: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate
    classes: tuple[ClassFinds, ...]
    confusion: tuple[tuple[int, ...], ...]
    curve: tuple[ThresholdPoint, ...] = Field(description="By rising threshold, in steps of 0.01")
