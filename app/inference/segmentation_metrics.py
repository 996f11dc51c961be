"""The figures of a segmenter that a model keeps, by split. They are computed where it is trained."""

from pydantic import BaseModel, ConfigDict, Field


class Share(BaseModel):
    """A figure in [0, 1] with its 95 % bootstrap interval over images; all None where the images do not define it."""

    model_config = ConfigDict(frozen=True)

    value: float | None = None
    low: float | None = None
    high: float | None = None


class ClassPixels(BaseModel):
    """One class, its pixels of all images together. `recall_of_defects` counts whole defects, see below."""

    model_config = ConfigDict(frozen=True)

    n_pixels: int = Field(description="That people marked")
    n_defects: int = Field(description="Connected parts of what people marked")
    n_hit: int
    iou: Share
    dice: Share
    precision: Share
    recall: Share
    recall_of_defects: Share


class SegmentationMetrics(BaseModel):
    """One split, at the default threshold.

    `mean_iou` is the mean over the classes that the images show, without background. `dice`, `precision` and `recall`
    ask of each pixel only whether it is a defect, of whatever class. A defect counts as found when a region of its
    class hits any of its pixels. `confusion[drawn][found]` counts pixels; index 0 is background, class k is k + 1.
    """

    model_config = ConfigDict(frozen=True)

    n_images: int
    n_defects: int
    threshold: float
    mean_iou: Share
    dice: Share
    precision: Share
    recall: Share
    recall_of_defects: Share
    classes: tuple[ClassPixels, ...]
    confusion: tuple[tuple[int, ...], ...]
