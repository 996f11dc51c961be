"""Which images of a project are references, and by which rule others are compared with them. Nothing here commits."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.contracts.reference import ReferenceRule
from app.contracts.tasks import TaskType
from app.core.errors import Invalid, NotFound
from app.db.session import change_rows
from app.db.tables import Image, Project
from app.db.visibility import WITH_REFERENCES
from app.images import service as image_service
from app.images.service import Selection
from app.projects import service as project_service
from app.references import rules

_CHUNK = 5_000  # ids in one statement: below every database's limit of parameters


class NotComparable(Invalid):
    """What was asked for does not go with the project's type or its rule."""

    code, title = "not_comparable", "Cannot be a reference"


def set_rule(session: Session, *, actor: Actor, project_id: int, rule: ReferenceRule | None) -> Project:
    """Say what the images of a project are compared with; None: with nothing, and references are images again.

    By name, references are known by their names alone, those that come later too; by metadata, those stay that were
    marked; with one for all, the only one that was.

    Raises:
        NotFound: No such project, or no such metadata field in it.
        PermissionDenied: The actor may not edit the project.
        NotComparable: The project is of a type that compares nothing, or the rule cannot tell images apart.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    before = rules.of(project)
    if rule is not None:
        rule = _checked(session, project, rule)
    of_project = Image.project_id == project_id
    n_marked = session.scalar(
        select(func.count(Image.id)).where(of_project, Image.is_reference.is_(True)), execution_options=WITH_REFERENCES
    )
    stays = rule is not None and (rule.kind == "metadata" or (rule.kind == "one" and n_marked == 1))
    if n_marked and not (stays and before is not None and before.kind != "name"):
        _set_references(session, of_project & Image.is_reference.is_(True), is_reference=False)
    if rule is not None and rule.kind == "name":
        rows = session.execute(select(Image.id, Image.name).where(of_project))
        _mark_ids(session, [image_id for image_id, name in rows if rule.is_reference_name(name)])
    project.reference_rule = None if rule is None else rule.model_dump(mode="json")
    _note(session, actor, project, "reference.rule", rule=rule.kind if rule else "none")
    return project


def mark(session: Session, *, actor: Actor, project_id: int, selection: Selection) -> int:
    """Make images references; return how many. They keep their labels, in case they become images again.

    A project without a rule gets that of one reference for all. There, a new reference takes the place of the old.

    Raises:
        NotFound: No such project, or an image is not of it.
        PermissionDenied: The actor may not edit the project.
        NotComparable: The project is of a type that compares nothing, or its rule does not go by marks, or has room
            for one alone.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    _check_type(project)
    rule = rules.of(project)
    if rule is not None and rule.kind == "name":
        raise NotComparable(
            f"References are known by their names here: those that end with “{rule.reference_ending}”. Change that "
            "under References."
        )
    condition = image_service.selected(session, project_id=project_id, selection=selection)
    if rule is None or rule.kind == "one":
        if session.scalar(select(func.count(Image.id)).where(condition)) != 1:
            raise NotComparable(
                "One reference stands for all images here. Select one image; or say under References how several are "
                "told apart."
            )
        former = (Image.project_id == project_id) & Image.is_reference.is_(True)
        chosen = list(session.scalars(select(Image.id).where(condition)))
        _set_references(session, former, is_reference=False)
        condition = Image.id.in_(chosen)
        project.reference_rule = ReferenceRule(kind="one").model_dump(mode="json")
    count = _set_references(session, condition, is_reference=True)
    _note(session, actor, project, "reference.mark", count=count)
    return count


def unmark(session: Session, *, actor: Actor, project_id: int, image_ids: Sequence[int]) -> int:
    """Make references images again; return how many.

    Raises:
        NotFound: No such project, or one of these is no reference of it.
        PermissionDenied: The actor may not edit the project.
        NotComparable: References are known by their names here.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    ids = set(image_ids)
    found = (Image.project_id == project_id) & Image.is_reference.is_(True) & Image.id.in_(ids)
    if len(ids) > image_service.MAX_IDS:
        raise Invalid(f"At most {image_service.MAX_IDS:,} images can be changed at once by their ids.")
    if session.scalar(select(func.count(Image.id)).where(found), execution_options=WITH_REFERENCES) != len(ids):
        raise NotFound("Not all of these are reference images of this project.")
    rule = rules.of(project)
    if rule is not None and rule.kind == "name":
        raise NotComparable("References are known by their names here. Change the rule to make them images again.")
    count = _set_references(session, found, is_reference=False)
    _note(session, actor, project, "reference.unmark", count=count)
    return count


# --- details ---------------------------------------------------------------------------------------------------------


def _checked(session: Session, project: Project, rule: ReferenceRule) -> ReferenceRule:
    _check_type(project)
    if rule.kind == "one":
        return ReferenceRule(kind="one")
    if rule.kind == "name":
        image_ending, reference_ending = rule.image_ending.strip(), rule.reference_ending.strip()
        if not reference_ending:
            raise _invalid("/referenceEnding", "Say how the names of reference images end, before the extension.")
        if image_ending.casefold().endswith(reference_ending.casefold()):
            raise _invalid("/referenceEnding", "The names of references need another ending than those of images.")
        return ReferenceRule(kind="name", image_ending=image_ending, reference_ending=reference_ending)
    if rule.field_id is None:
        raise _invalid("/fieldId", "Choose the metadata field whose value an image shares with its reference.")
    field = project_service.get_metadata_field(session, project_id=project.id, field_id=rule.field_id)
    if field.allow_multiple:
        raise _invalid("/fieldId", f"“{field.name}” may hold several values: it names no single reference.")
    return ReferenceRule(kind="metadata", field_id=field.id, field=field.name)


def _check_type(project: Project) -> None:
    if not TaskType(project.task).has_shapes:
        raise NotComparable("Only detection and segmentation compare images with references.")


def _invalid(pointer: str, detail: str) -> NotComparable:
    return NotComparable(detail, [{"pointer": pointer, "detail": detail, "code": "reference_rule"}])


def _mark_ids(session: Session, image_ids: Sequence[int]) -> None:
    for start in range(0, len(image_ids), _CHUNK):
        _set_references(session, Image.id.in_(image_ids[start : start + _CHUNK]), is_reference=True)


def _set_references(session: Session, condition: ColumnElement[bool], *, is_reference: bool) -> int:
    return change_rows(session, update(Image).where(condition).values(is_reference=is_reference), **WITH_REFERENCES)


def _note(session: Session, actor: Actor, project: Project, action: str, **facts: Any) -> None:
    record(session, user_id=actor.user_id, action=action, subject=project.name, project_id=project.id, **facts)
    project_service.touch(project)
