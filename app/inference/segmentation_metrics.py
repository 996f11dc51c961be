"""The figures of a segmenter that a model keeps, by split. They are computed where it is trained."""

from pydantic import BaseModel, ConfigDict, Field

from app.inference.bootstrap import Estimate


class ClassPixels(BaseModel):
    """One class, its pixels of all images together. `recall_of_defects` counts whole defects, see below."""

    model_config = ConfigDict(frozen=True)

    n_pixels: int = Field(description="That people marked")
    n_defects: int = Field(description="Connected parts of what people marked")
    n_hit: int
    iou: Estimate
    dice: Estimate
    precision: Estimate
    recall: Estimate
    recall_of_defects: Estimate


class SegmentationMetrics(BaseModel):
    """One split, at the default threshold. Intervals are 95 %, by resampling images.

    `mean_iou` is the mean over the classes that the images show, without background. `dice`, `precision` and `recall`
    ask of each pixel only whether it is a defect, of whatever class. A defect counts as found when a region of its
    class hits any of its pixels. `confusion[drawn][found]` counts pixels; index 0 is background, class k is k + 1.
    """

    model_config = ConfigDict(frozen=True)

    n_images: int
    n_defects: int
    threshold: float
    mean_iou: Estimate
    dice: Estimate
    precision: Estimate
    recall: Estimate
    recall_of_defects: Estimate
    classes: tuple[ClassPixels, ...]
    confusion: tuple[tuple[int, ...], ...]
