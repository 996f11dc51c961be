"""What the project pages show and what the REST routes speak."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.contracts.tasks import TaskType
from app.db.tables import Category, MetadataField, Project, Tag


@dataclass(frozen=True, slots=True)
class ProjectCard:
    """One project on the list: its figures and up to four of its newest images."""

    id: int
    name: str
    task: str
    is_invite_only: bool
    n_images: int
    n_labelled: int
    score: dict[str, Any] | None
    updated_at: datetime
    image_ids: tuple[int, ...]


class _Camel(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class ProjectIn(_Camel):
    name: str = Field(min_length=1, max_length=200)
    project_type: TaskType = Field(alias="projectType")


class GrowIn(ProjectIn):
    """A new project, and the images of another that it begins with."""

    media_ids: list[int] = Field(default_factory=list, alias="mediaIds", max_length=10_000)
    all_media: bool = Field(default=False, alias="allMedia", description="Every image, instead of `mediaIds`")


class ProjectChange(_Camel):
    name: str = Field(min_length=1, max_length=200)


class ActiveIn(_Camel):
    is_active: bool = Field(alias="isActive")


class CategoryIn(_Camel):
    name: str = Field(min_length=1, max_length=200)
    color: str | None = None
    description: str = ""
    is_good: bool | None = Field(default=None, alias="isGood")


class CategoryChange(_Camel):
    name: str | None = Field(default=None, min_length=1, max_length=200)
    color: str | None = None
    description: str | None = None
    is_good: bool | None = Field(default=None, alias="isGood")


class TagIn(_Camel):
    name: str = Field(min_length=1, max_length=200)


class MetadataFieldIn(_Camel):
    name: str = Field(min_length=1, max_length=200)
    type: str = "text"
    allow_multiple: bool = Field(default=False, alias="allowMultiple")
    predefined_choices: list[str] = Field(default_factory=list, alias="predefinedChoices", max_length=1000)


class MetadataFieldChange(_Camel):
    name: str | None = Field(default=None, min_length=1, max_length=200)
    allow_multiple: bool | None = Field(default=None, alias="allowMultiple")
    predefined_choices_append: list[str] = Field(default_factory=list, alias="predefinedChoicesAppend", max_length=1000)
    is_value_flexible: bool | None = Field(default=None, alias="valueFlexible")


def project_out(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "name": project.name,
        "projectType": project.task,
        "isActive": project.is_active,
        "createdAt": project.created_at.isoformat(),
    }


def category_out(category: Category) -> dict[str, Any]:
    return {
        "id": category.id,
        "name": category.name,
        "index": category.index,
        "color": category.color,
        "description": category.description,
        "isGood": category.is_good,
    }


def tag_out(tag: Tag) -> dict[str, Any]:
    return {
        "id": tag.id,
        "name": tag.name,
        "orgId": 1,
        "isArchived": False,
        "createdAt": tag.created_at.isoformat(),
        "updatedAt": tag.updated_at.isoformat(),
        "color": tag.color,
    }


def metadata_field_out(field: MetadataField) -> dict[str, Any]:
    return {
        "id": field.id,
        "name": field.name,
        "type": field.type,
        "allowMultiple": field.allow_multiple,
        "predefinedChoices": field.predefined_choices,
        "valueFlexible": field.is_value_flexible,
    }
