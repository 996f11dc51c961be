"""Projects and what is defined inside them. Nothing here commits."""

import re
from typing import TypeVar

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor, Role
from app.accounts.service import record
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.core.errors import InUse, Invalid, NameTaken, NotFound, PermissionDenied
from app.db.tables import Annotation, Category, Image, MetadataField, Project, ProjectMember, Tag, User
from app.db.visibility import WITH_DELETED
from app.projects.palette import is_good_name, next_color

SUPPORTED_TASKS = frozenset({TaskType.CLASSIFICATION, TaskType.ANOMALY, TaskType.DETECTION, TaskType.SEGMENTATION})
NORMAL, ABNORMAL = "Normal", "Abnormal"  # the names of the wire contract
METADATA_TYPES = frozenset({"text", "number", "boolean"})
_COLOR = re.compile(r"#[0-9a-f]{6}")
_Part = TypeVar("_Part", Category, Tag, MetadataField)


def get_for(session: Session, *, actor: Actor, project_id: int, action: Action) -> Project:
    """Return a project that the actor may see and do `action` in.

    Raises:
        NotFound: No such project, or the actor may not see it.
        PermissionDenied: The actor may see it, but not do this.
    """
    project = session.get(Project, project_id, execution_options=WITH_DELETED)
    if project is None or project.deleted_at is not None or not _may_enter(session, actor, project):
        raise NotFound("There is no such project.")
    actor.require(action)
    return project


def has_shapes(session: Session, project_id: int) -> bool:
    """Return whether images of the project carry shapes instead of one class each.

    Costs no statement in a session that has the project. The caller has checked that it may be seen.
    """
    return TaskType(session.get_one(Project, project_id).task).has_shapes


def list_family(session: Session, project_id: int) -> set[int]:
    """Return the ids of the project and of all that share files with it: what it grew out of, what grew out of it."""
    query = select(Project.id, Project.source_id).where(Project.source_id.is_not(None))
    links = [(child, source) for child, source in session.execute(query) if source is not None]
    family = {project_id}
    while True:
        wider = family.union(*({child, source} for child, source in links if child in family or source in family))
        if wider == family:
            return family
        family = wider


def _may_enter(session: Session, actor: Actor, project: Project) -> bool:
    if not project.is_invite_only or actor.role in {Role.OWNER, Role.ADMIN} or project.created_by_id == actor.user_id:
        return True
    return session.get(ProjectMember, (project.id, actor.user_id)) is not None


def visible_projects(actor: Actor) -> Select[Project]:
    """Return the query of the projects that the actor may enter, the last changed first."""
    query = select(Project).where(Project.deleted_at.is_(None)).order_by(Project.updated_at.desc(), Project.id.desc())
    if actor.role not in {Role.OWNER, Role.ADMIN}:
        mine = select(ProjectMember.project_id).where(ProjectMember.user_id == actor.user_id)
        query = query.where(
            Project.is_invite_only.is_(False) | (Project.created_by_id == actor.user_id) | Project.id.in_(mine)
        )
    return query


def list_projects(session: Session, *, actor: Actor) -> list[Project]:
    """Return the projects that the actor may enter, the last changed first."""
    return list(session.scalars(visible_projects(actor)))


def create_project(
    session: Session, *, actor: Actor, name: str, task: TaskType, is_invite_only: bool = False
) -> Project:
    """Create a project without images; one of anomaly detection with its two classes.

    Raises:
        PermissionDenied: The actor may not create projects.
        Invalid: The name is empty or too long, or the task cannot be trained yet.
    """
    actor.require(Action.CREATE_PROJECT)
    if task not in SUPPORTED_TASKS:
        raise _invalid("/projectType", f"Projects of type {task.value} cannot be created yet.", "unsupported")
    project = Project(name=required_name(name), task=task, created_by_id=actor.user_id, is_invite_only=is_invite_only)
    session.add(project)
    session.flush()
    if task is TaskType.ANOMALY:
        add_category(session, project=project, name=NORMAL, is_good=True)
        add_category(session, project=project, name=ABNORMAL, is_good=False)
    record(session, user_id=actor.user_id, action="project.create", subject=project.name, project_id=project.id)
    return project


def rename_project(session: Session, *, actor: Actor, project_id: int, name: str) -> Project:
    project = get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    project.name = required_name(name)
    touch(project)
    return project


def set_active(session: Session, *, actor: Actor, project_id: int, is_active: bool) -> Project:
    project = get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    project.is_active = is_active
    return project


def set_invite_only(session: Session, *, actor: Actor, project_id: int, user_ids: list[int] | None) -> Project:
    """Close a project to all but `user_ids`, its maker and the administrators; None opens it to everybody.

    Raises:
        NotFound: No such project.
        PermissionDenied: The actor may not close projects.
        Invalid: Somebody named has no account.
    """
    project = get_for(session, actor=actor, project_id=project_id, action=Action.DELETE_PROJECT)
    wanted = set(user_ids or ())
    if wanted - set(session.scalars(select(User.id).where(User.id.in_(wanted)))):
        raise _invalid("/user_ids", "One of these people has no account.", "unknown_person")
    project.is_invite_only = user_ids is not None
    for member in session.scalars(select(ProjectMember).where(ProjectMember.project_id == project_id)):
        session.delete(member)
    session.flush()
    session.add_all(ProjectMember(project_id=project_id, user_id=user_id) for user_id in sorted(wanted))
    return project


def delete_project(session: Session, *, actor: Actor, project_id: int) -> None:
    """Hide a project. Its data stays until an administrator purges it, so that a mistake costs nothing.

    Raises:
        NotFound: No such project.
        PermissionDenied: Neither an administrator nor the project's maker.
    """
    project = get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    if not actor.may(Action.DELETE_PROJECT) and not (
        project.created_by_id == actor.user_id and actor.may(Action.CREATE_PROJECT)
    ):
        raise PermissionDenied("Only an administrator or the person who created a project can delete it.")
    project.deleted_at = utc_now()
    record(session, user_id=actor.user_id, action="project.delete", subject=project.name, project_id=project.id)


def touch(project: Project) -> None:
    """Note that something in the project changed now."""
    project.updated_at = utc_now()


# --- classes ---------------------------------------------------------------------------------------------------------


def list_categories(session: Session, project_id: int) -> list[Category]:
    """Return the classes in the contract's order. The caller has checked that the project may be seen."""
    return list(session.scalars(select(Category).where(Category.project_id == project_id).order_by(Category.index)))


def create_category(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    name: str,
    color: str | None = None,
    description: str = "",
    is_good: bool | None = None,
) -> Category:
    """Add a class at the end of the list.

    Args:
        is_good: Parts of this class are OK; None decides by the name, while no class of the project is good.

    Raises:
        NotFound: No such project.
        PermissionDenied: The actor may not edit it.
        NameTaken: The project has a class of this name.
        Invalid: The name or the colour is not acceptable, or an anomaly project has its two classes.
    """
    project = get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    return add_category(session, project=project, name=name, color=color, description=description, is_good=is_good)


def add_category(
    session: Session,
    *,
    project: Project,
    name: str,
    color: str | None = None,
    description: str = "",
    is_good: bool | None = None,
) -> Category:
    """Add a class; the caller has checked the permission. Raises as `create_category` does."""
    name = required_name(name)
    existing = list_categories(session, project.id)
    if any(category.name == name for category in existing):
        raise _taken("class", name)
    if project.task == TaskType.ANOMALY and len(existing) >= 2:
        raise _invalid(
            "/name", "An anomaly project tells normal from abnormal; it has no further classes.", "two_classes"
        )
    if is_good is None:
        is_good = is_good_name(name) and not any(category.is_good for category in existing)
    first_index = 0 if project.task in {TaskType.CLASSIFICATION, TaskType.ANOMALY} else 1
    category = Category(
        project_id=project.id,
        index=max((category.index for category in existing), default=first_index - 1) + 1,
        name=name,
        color=_color(color) if color else next_color({category.color for category in existing}),
        description=description.strip()[:5000],
        is_good=is_good,
    )
    session.add(category)
    session.flush()
    touch(project)
    return category


def update_category(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    category_id: int,
    name: str | None = None,
    color: str | None = None,
    description: str | None = None,
    is_good: bool | None = None,
) -> Category:
    """Change what is given, leave the rest. At most one class is good. Raises as `create_category` does."""
    project = get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    category = get_category(session, project_id=project_id, category_id=category_id)
    if name is not None:
        name = required_name(name)
        if any(other.name == name for other in list_categories(session, project_id) if other.id != category_id):
            raise _taken("class", name)
        category.name = name
    if color is not None:
        category.color = _color(color)
    if description is not None:
        category.description = description.strip()[:5000]
    if is_good is not None:
        if is_good:
            for other in list_categories(session, project_id):
                other.is_good = False
        category.is_good = is_good
    _flush_name(session, "class", category.name)
    touch(project)
    return category


def delete_category(session: Session, *, actor: Actor, project_id: int, category_id: int) -> None:
    """Remove a class that no image carries. Deleted images lose it; one that had no other comes back without a label.

    Raises:
        Invalid: The project is one of anomaly detection, which needs both of its classes.
        InUse: Images carry it; `extra["count"]` says how many.
    """
    project = get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    if project.task == TaskType.ANOMALY:
        raise Invalid("An anomaly project needs both of its classes.")
    category = get_category(session, project_id=project_id, category_id=category_id)
    count = session.scalar(
        select(func.count(func.distinct(Annotation.image_id)))
        .join(Image, Image.id == Annotation.image_id)
        .where(Annotation.category_id == category_id)
    )
    if count:
        raise InUse(f"{count} images carry the class “{category.name}”. Give them another class first.", count=count)
    _take_from_deleted(session, category_id)
    session.delete(category)
    session.flush()
    touch(project)


def _take_from_deleted(session: Session, category_id: int) -> None:
    is_deleted = Image.deleted_at.is_not(None)
    options = {"synchronize_session": False, **WITH_DELETED}
    session.execute(
        delete(Annotation).where(
            Annotation.category_id == category_id, Annotation.image_id.in_(select(Image.id).where(is_deleted))
        ),
        execution_options=options,
    )
    unlabelled = {"category_id": None, "shape_classes": None, "is_labelled": False, "version": Image.version + 1}
    alone = (Image.category_id == category_id) | (Image.shape_classes == f",{category_id},")
    session.execute(update(Image).where(alone, is_deleted).values(unlabelled), execution_options=options)
    session.execute(
        update(Image)
        .where(Image.shape_classes.contains(f",{category_id},"), is_deleted)
        .values(shape_classes=func.replace(Image.shape_classes, f",{category_id},", ","), version=Image.version + 1),
        execution_options=options,
    )


def get_category(session: Session, *, project_id: int, category_id: int) -> Category:
    return _of_project(session, Category, category_id, project_id, "class")


# --- tags and metadata fields ----------------------------------------------------------------------------------------


def list_tags(session: Session, project_id: int) -> list[Tag]:
    return list(session.scalars(select(Tag).where(Tag.project_id == project_id).order_by(Tag.name)))


def create_tag(session: Session, *, actor: Actor, project_id: int, name: str) -> Tag:
    """Add a tag. Raises `NameTaken` where the project has one of this name."""
    project = get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    name = required_name(name)
    existing = list_tags(session, project_id)
    if any(tag.name == name for tag in existing):
        raise _taken("tag", name)
    return ensure_tag(session, project=project, name=name)


def ensure_tag(session: Session, *, project: Project, name: str) -> Tag:
    """Return the project's tag of this name, made now where there is none. The caller has checked the permission."""
    name = required_name(name)
    existing = list_tags(session, project.id)
    found = next((tag for tag in existing if tag.name == name), None)
    if found is not None:
        return found
    tag = Tag(project_id=project.id, name=name, color=next_color({tag.color for tag in existing}))
    session.add(tag)
    session.flush()
    return tag


def rename_tag(session: Session, *, actor: Actor, project_id: int, tag_id: int, name: str) -> Tag:
    get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    tag = get_tag(session, project_id=project_id, tag_id=tag_id)
    tag.name = required_name(name)
    tag.updated_at = utc_now()
    _flush_name(session, "tag", tag.name)
    return tag


def delete_tag(session: Session, *, actor: Actor, project_id: int, tag_id: int) -> None:
    """Remove a tag from the project and from its images."""
    get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    session.delete(get_tag(session, project_id=project_id, tag_id=tag_id))


def get_tag(session: Session, *, project_id: int, tag_id: int) -> Tag:
    return _of_project(session, Tag, tag_id, project_id, "tag")


def list_metadata_fields(session: Session, project_id: int) -> list[MetadataField]:
    query = select(MetadataField).where(MetadataField.project_id == project_id).order_by(MetadataField.id)
    return list(session.scalars(query))


def create_metadata_field(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    name: str,
    type: str = "text",  # noqa: A002  the contract's name
    allow_multiple: bool = False,
    predefined_choices: list[str] | None = None,
) -> MetadataField:
    """Define a metadata field. Raises `NameTaken`, or `Invalid` for another type than text, number or boolean."""
    get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    name = required_name(name)
    if type not in METADATA_TYPES:
        raise _invalid("/type", "The type is text, number or boolean.", "unsupported")
    if any(field.name == name for field in list_metadata_fields(session, project_id)):
        raise _taken("metadata field", name)
    field = MetadataField(
        project_id=project_id,
        name=name,
        type=type,
        allow_multiple=allow_multiple,
        predefined_choices=list(predefined_choices or ()),
    )
    session.add(field)
    session.flush()
    return field


def update_metadata_field(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    field_id: int,
    name: str | None = None,
    allow_multiple: bool | None = None,
    predefined_choices_append: list[str] | None = None,
    is_value_flexible: bool | None = None,
) -> MetadataField:
    """Change what is given, leave the rest; choices are only ever added. Raises `NameTaken`."""
    get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    field = get_metadata_field(session, project_id=project_id, field_id=field_id)
    if name is not None:
        field.name = required_name(name)
    if allow_multiple is not None:
        field.allow_multiple = allow_multiple
    if is_value_flexible is not None:
        field.is_value_flexible = is_value_flexible
    if predefined_choices_append:
        added = [choice for choice in predefined_choices_append if choice not in field.predefined_choices]
        field.predefined_choices = [*field.predefined_choices, *added]
    _flush_name(session, "metadata field", field.name)
    return field


def get_metadata_field(session: Session, *, project_id: int, field_id: int) -> MetadataField:
    return _of_project(session, MetadataField, field_id, project_id, "metadata field")


# --- details ---------------------------------------------------------------------------------------------------------


def _of_project(session: Session, table: type[_Part], part_id: int, project_id: int, what: str) -> _Part:
    part = session.get(table, part_id)
    if part is None or part.project_id != project_id:
        raise NotFound(f"There is no such {what} in this project.")
    return part


def _flush_name(session: Session, what: str, name: str) -> None:
    """Flush a change of which only the name can break a rule of the database: it is there once in a project."""
    try:
        session.flush()
    except IntegrityError as error:
        raise _taken(what, name) from error


def _taken(what: str, name: str) -> NameTaken:
    return NameTaken(f"There is a {what} named “{name}” already.")


def required_name(name: str, *, longest: int = 200) -> str:
    """Return `name` with its white space tidied.

    Raises:
        Invalid: It is empty, too long, or holds control characters.
    """
    if any(ord(character) < 32 for character in name.strip()):
        raise _invalid("/name", "A name holds no control characters.", "characters")
    name = " ".join(name.split())
    if not name:
        raise _invalid("/name", "Give it a name.", "required")
    if len(name) > longest:
        raise _invalid("/name", f"Use at most {longest} characters.", "too_long")
    return name


def _color(color: str) -> str:
    color = color.lower()
    if not _COLOR.fullmatch(color):
        raise _invalid("/color", "Give the colour as #rrggbb.", "color")
    return color


def _invalid(pointer: str, detail: str, code: str) -> Invalid:
    return Invalid(detail, [{"pointer": pointer, "detail": detail, "code": code}])
