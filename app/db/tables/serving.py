"""Deployments and the history of their calls."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Name, UuidId


class Deployment(Base):
    """A name that programs call. It points at a model; both model and threshold can be changed while it serves."""

    __tablename__ = "deployment"

    id: Mapped[UuidId]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    name: Mapped[Name]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("model_version.id"))
    threshold: Mapped[float]
    is_active: Mapped[bool] = mapped_column(default=True)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    deleted_at: Mapped[datetime | None]


class InferenceRecord(Base):
    """One prediction call: what came, what was answered, how long it took. Written off the request's path."""

    __tablename__ = "inference_record"
    __table_args__ = (
        Index("ix_inference_record_deployment", "deployment_id", "id"),
        Index("ix_inference_record_at", "deployment_id", "at"),
        Index("ix_inference_record_category", "deployment_id", "category_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"))
    model_id: Mapped[UUID]
    at: Mapped[CreatedAt]
    sha256: Mapped[str] = mapped_column(String(64))
    blob_key: Mapped[str | None] = mapped_column(String(200))
    width_px: Mapped[int]
    height_px: Mapped[int]
    category_id: Mapped[int | None]
    category_name: Mapped[str] = mapped_column(String(200))
    score: Mapped[float]
    ng_score: Mapped[float | None]
    is_unsure: Mapped[bool] = mapped_column(default=False)
    scores: Mapped[list[Any]]
    shapes: Mapped[list[Any] | None] = mapped_column(
        comment="[app.serving.recording.RecordedShape] at or above the threshold; None: no shapes"
    )
    threshold: Mapped[float]
    latency_ms: Mapped[float]
    source: Mapped[str] = mapped_column(String(10), default="api", comment="api or try")
    call_metadata: Mapped[dict[str, Any]] = mapped_column(default=dict)
    image_id: Mapped[int | None] = mapped_column(ForeignKey("image.id", ondelete="SET NULL"))
