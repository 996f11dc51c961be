"""Frozen datasets."""

from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, IntId


class DatasetVersion(Base):
    """What a model was trained on, unchangeable.

    Its items lie in a blob: an `app.contracts.dataset.Dataset` as gzipped JSON.
    """

    __tablename__ = "dataset_version"
    __table_args__ = (UniqueConstraint("project_id", "number"),)

    id: Mapped[IntId]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    number: Mapped[int]
    name: Mapped[str] = mapped_column(String(200), default="")
    content_hash: Mapped[str] = mapped_column(String(64))
    items_key: Mapped[str] = mapped_column(String(200))
    n_images: Mapped[int]
    counts: Mapped[dict[str, Any]] = mapped_column(comment="{split: {category id: images}}")
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[CreatedAt]
