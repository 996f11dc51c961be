"""A project that grows: its images become those of another type's. No file is copied. Nothing here commits."""

from typing import Any

from sqlalchemy import ColumnElement, Integer, String, Text, and_, case, cast, func, insert, literal, null, select
from sqlalchemy.orm import Session, aliased

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.annotations.service import KIND
from app.annotations.shapes import NOTHING
from app.contracts.tasks import TaskType
from app.core.errors import Invalid
from app.db.base import Json
from app.db.session import on_commit
from app.db.tables import Annotation, Category, Image, ImageTag, Project, ProjectMember, Tag
from app.images import places, thumbnails
from app.images.service import Selection, selected
from app.projects import service as project_service

# What an image keeps as it is: its files, who brought it, and its split, for what was tested on is not trained on.
_KEPT = (
    "name", "sha256", "blob_key", "format", "mode", "width_px", "height_px", "n_bytes", "split", "uploaded_by_id",
    "uploaded_at",
)  # fmt: skip


def grow(
    session: Session, *, actor: Actor, source_id: int, name: str, task: TaskType, selection: Selection = None
) -> Project:
    """Create a project of the type `task` from images of another; return it.

    Images keep their files, splits and tags. Labels are carried where they mean something: a class stays a class, by
    name; every class but the good one is Abnormal to an anomaly project; for boxes and masks the good images have
    nothing to label, and the others wait for their shapes, whose classes exist already. Masks are carried between
    anomaly detection and segmentation: what is marked is where an image is abnormal.

    Args:
        session: The request's session.
        actor: Who may see the source and create projects.
        source_id: A project whose images carry one class each; or masks, for an anomaly project.
        name: Of the new project.
        task: Of the new project.
        selection: Which images; None takes all.

    Raises:
        NotFound: No such project, or an image is not of it.
        PermissionDenied: The actor may not create projects.
        Invalid: The name or the type is not acceptable, the source's images carry shapes, or nothing is selected.
    """
    source = project_service.get_for(session, actor=actor, project_id=source_id, action=Action.CREATE_PROJECT)
    if task not in tasks_from(TaskType(source.task)):
        raise Invalid("Images that carry shapes make no project of this type; segmented ones make one of anomalies.")
    condition = selected(session, project_id=source_id, selection=selection) & Image.deleted_at.is_(None)
    n_images = session.scalar(select(func.count(Image.id)).where(condition))
    if not n_images:
        raise Invalid("There is no image to begin with. Choose some, or take the filter away.")
    project = project_service.create_project(
        session, actor=actor, name=name, task=task, is_invite_only=source.is_invite_only
    )
    project.source_id = source_id
    for member in session.scalars(select(ProjectMember).where(ProjectMember.project_id == source_id)):
        session.add(ProjectMember(project_id=project.id, user_id=member.user_id))
    categories = project_service.list_categories(session, source_id)
    _copy_images(session, project, condition, _labels(session, project, task, categories, TaskType(source.task)))
    _copy_annotations(session, project)
    places.carry(session, actor=actor, source=source, target=project)
    _copy_tags(session, project, source_id)
    record(
        session,
        user_id=actor.user_id,
        action="project.grow",
        subject=project.name,
        project_id=project.id,
        source_id=source_id,
        count=n_images,
    )
    on_commit(session, lambda: thumbnails.request(project.id))
    return project


def tasks_from(source: TaskType) -> frozenset[TaskType]:
    """Return the types of project that grow out of one of the type `source`."""
    if source is TaskType.SEGMENTATION:
        return frozenset({TaskType.ANOMALY})
    return frozenset() if source.has_shapes else frozenset(TaskType)


# --- details ---------------------------------------------------------------------------------------------------------


def _labels(
    session: Session, project: Project, task: TaskType, categories: list[Category], source: TaskType
) -> dict[str, ColumnElement[Any]]:
    """Make the classes of the new project; return the columns that say what each image is labelled with."""
    if task.has_shapes:
        for one in categories:
            if not one.is_good:
                _add_like(session, project, one)
        is_good = and_(Image.is_labelled, Image.category_id.in_([one.id for one in categories if one.is_good]))
        nothing = case((is_good, literal(NOTHING)), else_=cast(null(), Text))
        return {
            "category_id": cast(null(), Integer),
            "shape_classes": nothing,
            "is_labelled": func.coalesce(is_good, False),
        }
    if task is TaskType.ANOMALY:
        ours = {one.is_good: one for one in project_service.list_categories(session, project.id)}
        if source.has_shapes:
            is_marked = case((Image.shape_classes == NOTHING, ours[True].id), else_=ours[False].id)
            return {
                "category_id": case((Image.is_labelled, is_marked), else_=cast(null(), Integer)),
                "shape_classes": cast(null(), Text),
                "is_labelled": Image.is_labelled.is_(True),
            }
        same = {one.id: ours[one.is_good].id for one in categories}
    else:
        same = {one.id: _add_like(session, project, one).id for one in categories}
    carried = case(*((Image.category_id == old, new) for old, new in same.items()), else_=cast(null(), Integer))
    return {
        "category_id": carried if same else cast(null(), Integer),
        "shape_classes": cast(null(), Text),
        "is_labelled": Image.category_id.is_not(None),
    }


def _add_like(session: Session, project: Project, one: Category) -> Category:
    return project_service.add_category(
        session, project=project, name=one.name, color=one.color, description=one.description, is_good=one.is_good
    )


def _copy_images(
    session: Session, project: Project, condition: ColumnElement[bool], labels: dict[str, ColumnElement[Any]]
) -> None:
    is_labelled = labels["is_labelled"]
    columns: dict[str, Any] = {
        "project_id": literal(project.id, Integer),
        **{name: getattr(Image, name) for name in _KEPT},
        **labels,
        "version": case((is_labelled, 1), else_=0),
        "labelled_at": case((is_labelled, Image.labelled_at)),
        "labelled_by_id": case((is_labelled, Image.labelled_by_id)),
    }
    rows = select(*columns.values()).where(condition).order_by(Image.id)
    session.execute(insert(Image).from_select(list(columns), rows))


def _copy_annotations(session: Session, project: Project) -> None:
    rows = select(
        Image.id,
        Image.category_id,
        literal(KIND, String),
        literal({}, Json),
        Image.labelled_by_id,
        func.coalesce(Image.labelled_at, Image.uploaded_at),
    ).where(Image.project_id == project.id, Image.category_id.is_not(None))
    names = ["image_id", "category_id", "kind", "geometry", "created_by_id", "created_at"]
    session.execute(insert(Annotation).from_select(names, rows))


def _copy_tags(session: Session, project: Project, source_id: int) -> None:
    """Give the new images the tags of the old: the same bytes are one image in each project."""
    old, new = aliased(Image), aliased(Image)
    for tag in project_service.list_tags(session, source_id):
        copy = Tag(project_id=project.id, name=tag.name, color=tag.color)
        session.add(copy)
        session.flush()
        rows = (
            select(new.id, literal(copy.id, Integer))
            .join(old, and_(old.sha256 == new.sha256, old.project_id == source_id, old.deleted_at.is_(None)))
            .join(ImageTag, and_(ImageTag.image_id == old.id, ImageTag.tag_id == tag.id))
            .where(new.project_id == project.id)
        )
        session.execute(insert(ImageTag).from_select(["image_id", "tag_id"], rows))
