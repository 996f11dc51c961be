"""What the image routes answer and accept: the names of the wire contract, section 7."""

from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.annotations.shapes import classes_of
from app.db.tables import Image
from app.images.adding import Fate

T = TypeVar("T")


class FileResult(BaseModel):
    """What became of one uploaded file."""

    name: str
    status: str = Field(description="`created`, `duplicate` or `refused`")
    image_id: int | None = Field(description="The new image, or the one that holds the same bytes")
    detail: str = ""

    @classmethod
    def of(cls, fate: Fate) -> "FileResult":
        return cls(name=fate.name, status=fate.status.value, image_id=fate.image_id, detail=fate.detail)


class Wire(BaseModel):
    """Base of bodies whose names are in camel case on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Data(BaseModel, Generic[T]):
    """The envelope of every answer."""

    data: T


class PageOf(Wire, Generic[T]):
    """A page of a list, in its envelope."""

    data: list[T]
    next_cursor: str | None = Field(description="Send it as `cursor` for what follows; null at the end")


class UploadedImage(Wire):
    id: int
    name: str
    upload_time: datetime


class UploadResults(Wire):
    """What became of each file of a zip."""

    results: list[FileResult]
    counts: dict[str, int]


class ListedImage(UploadedImage):
    """An image as lists show it."""

    width: int = Field(description="Pixels, after the EXIF turn")
    height: int
    format: str
    bytes: int
    sha256: str
    split: str | None
    is_labelled: bool
    class_id: int | None = Field(description="The class of an image that carries one")
    class_name: str | None
    class_ids: list[int] = Field(description="The classes that it holds, also of its shapes")
    version: int = Field(description="Grows with each change of the label")

    @classmethod
    def listed(cls, image: Image, class_names: dict[int, str], **more: Any) -> Self:
        return cls(
            id=image.id,
            name=image.name,
            upload_time=image.uploaded_at,
            width=image.width_px,
            height=image.height_px,
            format=image.format,
            bytes=image.n_bytes,
            sha256=image.sha256,
            split=image.split,
            is_labelled=image.is_labelled,
            class_id=image.category_id,
            class_name=None if image.category_id is None else class_names.get(image.category_id),
            class_ids=sorted(classes_of(image)),
            version=image.version,
            **more,
        )


class ImageDetails(ListedImage):
    metadata: dict[str, Any] = Field(description="Values by the id of the metadata field")
    tag_ids: list[int]


class Selected(Wire):
    """Which images a bulk change is for."""

    media_ids: list[int] = Field(default_factory=list, max_length=10_000)
    all_media: bool = Field(default=False, description="Every image of the project, instead of `mediaIds`")


class MetadataAppend(Selected):
    metadata_append: dict[str, Any] = Field(description="Values by the name or id of the metadata field")


class MetadataBody(Wire):
    metadata: dict[str, Any] = Field(description="Values by the name or id of the metadata field; null removes one")


class MetadataOfImage(Wire):
    media_id: int
    metadata: dict[str, Any]


class TagsBody(Selected):
    tag_names: list[str] = Field(min_length=1, max_length=100)


class SplitBody(Wire):
    split: str | None = Field(description="`train`, `dev`, `test` or null")


class BulkSplit(Selected, SplitBody):
    pass


class LabelBody(Wire):
    """A class by id or by name; both null takes the label away."""

    class_id: int | None = None
    class_name: str | None = None
    version: int | None = Field(default=None, description="Refuse with 409 unless the image still has this version")


class Count(Wire):
    count: int
