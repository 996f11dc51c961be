"""Visual prompting: strokes that show a class, and the masks that were made of them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt


class ImageStrokes(Base):
    """All strokes of one image, everybody's. `version` grows with each change; an edit names the one it was made on."""

    __tablename__ = "image_strokes"

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    version: Mapped[int] = mapped_column(default=1)
    n_strokes: Mapped[int]
    strokes: Mapped[list[Any]] = mapped_column(comment="[app.contracts.strokes.Stroke]")
    changed_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    changed_at: Mapped[CreatedAt]


class PromptedMasks(Base):
    """What the last run made of the strokes of a project, on one image. `score` is that of the best mask, 0 without."""

    __tablename__ = "prompted_masks"

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    score: Mapped[float]
    masks: Mapped[list[Any]] = mapped_column(comment="[{category_id, score, mask}], the best first")
    made_at: Mapped[datetime]
