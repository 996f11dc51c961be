"""Projects and what is defined inside them: classes, tags, metadata fields, members."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, CreatedAt, IntId, Name


class Project(Base):
    """One inspection task: its images, classes, models and deployments.

    `source_id` is the project that its first images came from; their files are the same.
    """

    __tablename__ = "project"

    id: Mapped[IntId]
    name: Mapped[Name]
    task: Mapped[str] = mapped_column(String(30))
    is_active: Mapped[bool] = mapped_column(default=True)
    is_invite_only: Mapped[bool] = mapped_column(default=False)
    source_id: Mapped[int | None] = mapped_column(ForeignKey("project.id"))
    reference_rule: Mapped[dict[str, Any] | None] = mapped_column(
        comment="app.contracts.reference.ReferenceRule; None: images are not compared"
    )
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    deleted_at: Mapped[datetime | None]
    categories: Mapped[list["Category"]] = relationship(order_by="Category.index", viewonly=True)


class ProjectMember(Base):
    """Somebody who may enter an invite-only project. What they may do there is their role's."""

    __tablename__ = "project_member"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)


class Category(Base):
    """A class of the project. `index` is its place in the contract: from 0 in classification, from 1 elsewhere."""

    __tablename__ = "category"
    __table_args__ = (UniqueConstraint("project_id", "name"), UniqueConstraint("project_id", "index"))

    id: Mapped[IntId]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    index: Mapped[int]
    name: Mapped[Name]
    color: Mapped[str] = mapped_column(String(7))
    description: Mapped[str] = mapped_column(Text, default="")
    is_good: Mapped[bool] = mapped_column(default=False)


class Tag(Base):
    __tablename__ = "tag"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[IntId]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    name: Mapped[Name]
    color: Mapped[str] = mapped_column(String(7))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class MetadataField(Base):
    """A typed fact that images of the project may carry: `text`, `number` or `boolean`."""

    __tablename__ = "metadata_field"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[IntId]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    name: Mapped[Name]
    type: Mapped[str] = mapped_column(String(10))
    allow_multiple: Mapped[bool] = mapped_column(default=False)
    predefined_choices: Mapped[list[Any]] = mapped_column(default=list)
    is_value_flexible: Mapped[bool] = mapped_column(default=True)
