"""Published models and what they say of every image."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Name, UuidId


class ModelVersion(Base):
    """A trained, evaluated, published model.

    Its files lie under `bundle_key`, a prefix with the manifest and the ONNX file.
    """

    __tablename__ = "model_version"
    __table_args__ = (Index("ix_model_version_project", "project_id", "created_at"),)

    id: Mapped[UuidId]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"), unique=True)
    dataset_version_id: Mapped[int | None] = mapped_column(ForeignKey("dataset_version.id"))
    name: Mapped[Name]
    bundle_key: Mapped[str] = mapped_column(String(200))
    n_bytes: Mapped[int]
    manifest: Mapped[dict[str, Any]] = mapped_column(comment="app.contracts.bundle.BundleManifest")
    metrics: Mapped[dict[str, Any]] = mapped_column(comment="{split: figures with intervals} at the default threshold")
    tables: Mapped[dict[str, Any]] = mapped_column(
        default=dict, comment="What was compared: backbones, symmetries, strengths"
    )
    threshold: Mapped[float]
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[CreatedAt]


class Prediction(Base):
    """What one model says of one image of the project: calibrated scores in the bundle's class order.

    `split` and `true_category_id` are those of the dataset version, so that a report never changes after the fact;
    both are None for images that had no label. `predicted_category_id`, `score`, `ng_score` and `is_wrong` are at the
    model's default threshold; the report recomputes them for any other. Where the task has shapes,
    `predicted_category_id` is the class of the best find, None without one, and an image is wrong where a shape was
    missed or found in excess.
    """

    __tablename__ = "prediction"
    __table_args__ = (
        Index("ix_prediction_image", "image_id", "model_id"),
        Index("ix_prediction_wrong", "model_id", "is_wrong", "image_id"),
        Index("ix_prediction_class", "model_id", "predicted_category_id", "image_id"),
    )

    model_id: Mapped[UUID] = mapped_column(ForeignKey("model_version.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    split: Mapped[str | None] = mapped_column(String(5))
    true_category_id: Mapped[int | None]
    predicted_category_id: Mapped[int | None]
    score: Mapped[float]
    ng_score: Mapped[float | None]
    is_wrong: Mapped[bool | None]
    scores: Mapped[list[Any]]
    shapes: Mapped[list[Any] | None] = mapped_column(
        comment="[app.contracts.predictions.PredictedShape with the members of its ShapeMatch]; None: no shapes"
    )
    drawn: Mapped[list[Any] | None] = mapped_column(
        comment="[app.contracts.dataset.AnnotationValue] of the dataset version; None: no shapes"
    )
