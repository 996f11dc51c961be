"""What pages and programs are given about models."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from app.contracts.shapes import Box, Mask
from app.images.schemas import Wire
from app.registry.overlays import OverlayShape

UNLABELLED = "unlabelled"
SPLITS = ("test", "dev", "train")


@dataclass(frozen=True, slots=True)
class ClassMark:
    """A class as a model knew it: later renaming does not change a report."""

    id: int
    name: str
    color: str
    is_good: bool


@dataclass(frozen=True, slots=True)
class ScoreCell:
    """A headline score of one split, for lists."""

    split: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model of the list."""

    id: UUID
    name: str
    score_name: str
    scores: tuple[ScoreCell, ...]
    dataset_number: int | None
    n_images: int
    backbone: str
    created_at: datetime
    created_by: str | None
    deployments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelHead:
    """What every page of one model shows about it besides its figures."""

    id: UUID
    name: str
    created_at: datetime
    created_by: str | None
    dataset_number: int | None
    dataset_n_images: int
    deployments: tuple[tuple[UUID, str], ...]
    job_id: UUID | None
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One image of a gallery, with what was labelled and what a model said.

    `category` is None without a label. `note` is a short fact for the corner, for example the NG score. Where a model
    finds shapes, `overlay` holds them and what is drawn; the image itself then has no class.
    """

    image_id: int
    name: str
    width_px: int
    height_px: int
    category: ClassMark | None
    predicted: ClassMark | None
    score: float
    is_wrong: bool
    is_unsure: bool
    note: str
    is_deleted: bool
    overlay: tuple[OverlayShape, ...] = ()


@dataclass(frozen=True, slots=True)
class GalleryTab:
    """One pile of images worth looking at."""

    key: str
    title: str
    n: int
    empty: str
    hint: str


@dataclass(frozen=True, slots=True)
class GalleryPage:
    """Some images of a pile and the cursor of what follows."""

    items: list[Evidence]
    next_cursor: str | None
    n: int


@dataclass(frozen=True, slots=True)
class GalleryView:
    """A page of a gallery on a screen of its own."""

    page: GalleryPage
    split: str
    which: str
    title: str
    hint: str
    empty: str
    n_by_split: dict[str, int]


# --- REST ------------------------------------------------------------------------------------------------------------


class ModelOut(Wire):
    """A published model. `id` and `name` are the contract's; the rest is ours."""

    id: UUID
    name: str
    training_id: UUID | None
    dataset_version_id: int | None
    created_at: datetime
    threshold: float
    backbone: str
    size_bytes: int
    metrics: dict[str, Any] = Field(description="Figures of each split at the default threshold")


class DownloadIn(Wire):
    """What a download is asked for with; everything may be left out."""

    threshold: float | None = Field(default=None, ge=0.0, le=1.0)


class DownloadOut(Wire):
    download_url: str = Field(description="Send the same `apikey` header to it")
    threshold: float


class ClassPerformance(Wire):
    """One class of a split. `performance` is F1; None where the images do not define a figure."""

    id: int
    performance: float | None
    recall: float | None
    precision: float | None


class NamedPerformance(Wire):
    name: str
    performance: float | None
    recall: float | None
    precision: float | None


class SplitMetrics(Wire):
    name: str
    classes: list[ClassPerformance]
    metrics: list[NamedPerformance]


class ConfusionCount(Wire):
    count: int
    ground_truth_class_id: int
    predicted_class_id: int


class SplitConfusion(Wire):
    """Counts of one split. A false negative is a defect called good, a false positive the reverse.

    Where the model finds shapes, shapes are counted, and class 0 is nothing: missed, or found where nothing is drawn.
    """

    name: str
    correct_predictions: list[ConfusionCount]
    false_negative_predictions: list[ConfusionCount]
    false_positive_predictions: list[ConfusionCount]
    misclassifications: list[ConfusionCount]


class FoundOut(Wire):
    """One find, in pixels of the original."""

    class_id: int
    score: float
    box: Box
    mask: Mask | None = None
    is_right: bool | None = Field(description="It was matched with a drawn shape of its class; None unlabelled")


class PredictionOut(Wire):
    """What a model says of one image at its default threshold."""

    image_id: int
    split: str | None
    ground_truth_class_id: int | None = Field(description="None unlabelled, or where shapes carry the classes")
    predicted_class_id: int | None = Field(
        description="Where the model finds shapes, of the best one; None: nothing found"
    )
    score: float
    ng_score: float | None
    is_wrong: bool | None = Field(description="Where the model finds shapes: one is missed or too many")
    scores: dict[str, float] = Field(
        description="Calibrated score of each class by its id; of `OK` and `NG` where the model finds shapes"
    )
    shapes: list[FoundOut] | None = Field(
        default=None, description="All that was found, also below the threshold; None where the task has no shapes"
    )
