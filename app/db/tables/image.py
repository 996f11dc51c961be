"""Images of a project, their annotations, tags and metadata."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, IntId


class Image(Base):
    """One picture of one project.

    `category_id` repeats the single annotation of a classification or anomaly image, so that the grid filters on an
    index; `shape_classes` repeats the classes of the shapes of any other labelled image: their ids as `,3,17,`, and `,`
    where there is nothing to label. `version` grows with each change of the annotations; an edit names the version it
    was made on.

    A deleted image keeps its row until it is purged, so that deleting can be undone. A reference is what other images
    are compared with: nobody labels it, no model learns from it. Queries see neither: see `app.db.visibility`.
    """

    __tablename__ = "image"
    __table_args__ = (
        # One live image for the same bytes; a deleted one may lie beside it until it is purged.
        Index(
            "uq_image_project_sha256",
            "project_id",
            "sha256",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        # `deleted_at` and `is_reference` are in each, so that counts and pages are answered by the index alone.
        Index("ix_image_project_category", "project_id", "category_id", "deleted_at", "is_reference", "id"),
        Index("ix_image_project_split", "project_id", "split", "deleted_at", "is_reference", "id"),
        Index("ix_image_project_labelled", "project_id", "is_labelled", "deleted_at", "is_reference", "id"),
        Index("ix_image_project_id", "project_id", "deleted_at", "is_reference", "id"),
        Index("ix_image_project_name", "project_id", "deleted_at", "is_reference", "name", "id"),
        # The counts beside the grid: every combination in one pass over this index.
        Index(
            "ix_image_project_facets",
            "project_id",
            "deleted_at",
            "is_reference",
            "category_id",
            "shape_classes",
            "split",
            "is_labelled",
        ),
        Index(
            "ix_image_thumb_todo",
            "id",
            sqlite_where=text("thumb_key IS NULL"),
            postgresql_where=text("thumb_key IS NULL"),
        ),
        Index(
            "ix_image_deleted",
            "deleted_at",
            sqlite_where=text("deleted_at IS NOT NULL"),
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
    )

    id: Mapped[IntId]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(500))
    sha256: Mapped[str] = mapped_column(String(64))
    blob_key: Mapped[str] = mapped_column(String(200))
    thumb_key: Mapped[str | None] = mapped_column(String(200))
    format: Mapped[str] = mapped_column(String(10))
    mode: Mapped[str] = mapped_column(String(10))
    width_px: Mapped[int]
    height_px: Mapped[int]
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    split: Mapped[str | None] = mapped_column(String(5))
    is_labelled: Mapped[bool] = mapped_column(default=False)
    category_id: Mapped[int | None] = mapped_column(ForeignKey("category.id"))
    shape_classes: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=0)
    labelled_at: Mapped[datetime | None]
    labelled_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    uploaded_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    uploaded_at: Mapped[CreatedAt]
    deleted_at: Mapped[datetime | None]
    is_reference: Mapped[bool] = mapped_column(default=False, server_default=false())


class Annotation(Base):
    """One class, box, polygon or mask on an image. `geometry` is the shape of that kind, empty for a class.

    An image of an anomaly project has one: its class, or the mask of where it is abnormal, under the class Abnormal.
    """

    __tablename__ = "annotation"
    # Images by class: for the grid's filter, and to know whether a class is in use.
    __table_args__ = (Index("ix_annotation_category", "category_id", "image_id"),)

    id: Mapped[IntId]
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), index=True)
    category_id: Mapped[int] = mapped_column(ForeignKey("category.id"))
    kind: Mapped[str] = mapped_column(String(10))
    geometry: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[CreatedAt]


class ImageTag(Base):
    __tablename__ = "image_tag"
    __table_args__ = (Index("ix_image_tag_tag", "tag_id", "image_id"),)

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True)


class ImageMetadata(Base):
    """The value of one metadata field for one image: a JSON text, number, boolean or list of them."""

    __tablename__ = "image_metadata"

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    field_id: Mapped[int] = mapped_column(ForeignKey("metadata_field.id", ondelete="CASCADE"), primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(comment="{'v': value}")
