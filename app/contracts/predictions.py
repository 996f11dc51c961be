"""What a model says of one image."""

from pydantic import BaseModel, ConfigDict, Field

from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import Box, Mask
from app.contracts.tasks import Split


class ClassScores(BaseModel):
    """Calibrated scores of one image, one for each class, in the bundle's class order. They sum to 1."""

    model_config = ConfigDict(frozen=True)

    scores: tuple[float, ...]


class Decision(BaseModel):
    """The answer after the threshold: one class and its score."""

    model_config = ConfigDict(frozen=True)

    category_index: int = Field(
        description="Index into the bundle's classes; where the model finds shapes, 0 is OK and 1 NG"
    )
    score: float = Field(ge=0.0, le=1.0, description="Calibrated score of that answer")
    ng_score: float | None = Field(
        default=None,
        description="1 - score of the good class, None where no class is marked good; the best find's score, 0 without "
        "one, where the model finds shapes",
    )
    is_unsure: bool = Field(default=False, description="The best score is below a confidence threshold")


class PredictedShape(BaseModel):
    """One find on one image. A detector gives the box; a segmenter gives the mask and the box around it."""

    model_config = ConfigDict(frozen=True)

    category_index: int = Field(ge=0, description="Index into the bundle's classes, from 0")
    score: float = Field(ge=0.0, le=1.0)
    box: Box
    mask: Mask | None = None


class ShapeMatch(BaseModel):
    """What a find was matched with: places among the image's drawn shapes, None where with none.

    Finds are matched the best first, each drawn shape once, so that what counts at a threshold are the matches of the
    finds above it: a find never changes what better ones were matched with.
    """

    model_config = ConfigDict(frozen=True)

    own: int | None = Field(default=None, ge=0, description="Matched among the shapes of the find's class: it is right")
    any: int | None = Field(default=None, ge=0, description="Matched whatever the class, for the confusion matrix")


class ImagePrediction(BaseModel):
    """What a new model says of one image of its project; the row that a training leaves for every image."""

    model_config = ConfigDict(frozen=True)

    image_id: int
    split: Split | None = Field(description="None: the image had no label when the dataset was frozen")
    true_category_id: int | None = Field(
        description="Id of the one class that a person gave it; None unlabelled, or where shapes carry the classes"
    )
    scores: tuple[float, ...] = Field(
        description="They sum to 1. Calibrated, in the bundle's class order; for detection and segmentation the image "
        "as a whole: (1 - s, s) for OK and NG, s the highest score of a shape, 0 without one"
    )
    shapes: tuple[PredictedShape, ...] = Field(
        default=(), description="The best first; empty where the task answers for the image as a whole"
    )
    drawn: tuple[AnnotationValue, ...] = Field(
        default=(), description="The image's shapes when the dataset was frozen; empty where the task has none"
    )
    matches: tuple[ShapeMatch, ...] = Field(
        default=(), description="One for each of `shapes`; empty where the image had no label"
    )
