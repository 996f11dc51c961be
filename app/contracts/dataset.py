"""An immutable, labelled set of images, as a training job receives it."""

import hashlib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.contracts.reference import ReferenceImage, ReferenceRule
from app.contracts.shapes import SHAPE_KINDS, Box, Mask, Polygon, Shape
from app.contracts.strokes import Stroke
from app.contracts.tasks import Split, TaskType


class CategoryRef(BaseModel):
    """One class of the project at the moment of freezing."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    color: str = Field(description="`#rrggbb`")
    is_good: bool = Field(default=False, description="Parts of this class are OK: the negative side of every report")


class AnnotationValue(BaseModel):
    """One annotation of one image: a class alone (classification, anomaly detection), or with one shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category_id: int
    box: Box | None = None
    polygon: Polygon | None = None
    mask: Mask | None = None

    @model_validator(mode="after")
    def _has_one_shape_at_most(self) -> Self:
        if sum(shape is not None for shape in (self.box, self.polygon, self.mask)) > 1:
            raise ValueError("An annotation has one shape: a box, a polygon or a mask.")
        return self

    @property
    def shape(self) -> Shape | None:
        """The box, polygon or mask; None where the class is said of the whole image."""
        return self.box or self.polygon or self.mask

    @property
    def kind(self) -> str:
        """`class`, `box`, `polygon` or `mask`: the name under which the database keeps it."""
        return next((kind for kind in SHAPE_KINDS if getattr(self, kind) is not None), "class")


class DatasetItem(BaseModel):
    """One image of a dataset version: what it is, where its bytes lie, and what a person said of it."""

    model_config = ConfigDict(frozen=True)

    image_id: int
    sha256: str = Field(description="Of the original bytes, hexadecimal")
    blob_key: str
    width_px: int = Field(description="After the EXIF turn")
    height_px: int
    split: Split | None = Field(description="None only for images that are predicted but not part of the dataset")
    annotations: tuple[AnnotationValue, ...] = Field(
        default=(), description="Empty on an item of the dataset: a person said that there is nothing to label"
    )
    reference: ReferenceImage | None = Field(
        default=None, description="What it is compared with, where there is a rule"
    )
    strokes: tuple[Stroke, ...] = Field(
        default=(), description="What was painted on it, where strokes are learned from"
    )

    @property
    def category_id(self) -> int | None:
        """The class of an image that has exactly one annotation (classification, anomaly detection), else None."""
        return self.annotations[0].category_id if len(self.annotations) == 1 else None


_LEARNED: dict[str, Any] = {"sha256": True, "split": True, "annotations": True, "reference": {"sha256"}}


class Dataset(BaseModel):
    """The content of a dataset version.

    `items` are the labelled, split images. `unlabelled` are images of the same project that had no label at that
    moment: they are only predicted, never fitted.
    """

    model_config = ConfigDict(frozen=True)

    task: TaskType
    categories: tuple[CategoryRef, ...]
    items: tuple[DatasetItem, ...]
    unlabelled: tuple[DatasetItem, ...] = ()
    reference_rule: ReferenceRule | None = Field(
        default=None, description="Every image is read together with its reference"
    )

    def content_hash(self) -> str:
        """Return the SHA-256 of what the model learns from: classes, images, labels, splits, references and strokes."""
        digest = hashlib.sha256(self.task.encode())
        if self.reference_rule is not None:
            digest.update(self.reference_rule.model_dump_json().encode())
        for category in self.categories:
            digest.update(category.model_dump_json().encode())
        for item in sorted(self.items, key=lambda item: item.image_id):
            digest.update(item.model_dump_json(include=_LEARNED, exclude_none=True).encode())
        for item in sorted((*self.items, *self.unlabelled), key=lambda item: item.image_id):
            if item.strokes:
                digest.update(item.model_dump_json(include={"sha256", "strokes"}).encode())
        return digest.hexdigest()
