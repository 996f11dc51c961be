"""Boxes, polygons and masks of an image, read and replaced as a whole. Nothing here commits.

Whoever changes them names the version they saw, as for classes (`app.annotations.service`): the change is one
conditional update of the image, and only who wins it writes shapes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.annotations.schemas import Shapes
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import MAX_SHAPES, SHAPE_KINDS, find_overflow
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.core.errors import Invalid, NotFound, StaleVersion
from app.db.session import change_rows
from app.db.tables import Annotation, Image, Project, User
from app.projects import service as project_service


class HasClasses(Protocol):
    """A row of `image`, or of a query for these columns."""

    @property
    def category_id(self) -> int | None: ...
    @property
    def shape_classes(self) -> str | None: ...


NOTHING = ","  # `image.shape_classes` where a person looked and there is nothing to mark
_MOST_ERRORS = 20  # enough to see what is wrong with a thousand boxes


def get_shapes(session: Session, *, actor: Actor, project_id: int, image_id: int) -> Shapes:
    """Return the annotations of an image, its shapes or its class.

    Raises:
        NotFound: No such project, or no such image in it, or the actor may not see it.
    """
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return load_shapes(session, project_id=project_id, image_id=image_id)


def load_shapes(session: Session, *, project_id: int, image_id: int) -> Shapes:
    """Return the annotations of an image. The caller has checked that the project may be seen.

    Raises:
        NotFound: The project has no such image.
    """
    row = session.execute(
        select(Image.width_px, Image.height_px, Image.version, Image.is_labelled, Image.labelled_at, User.name)
        .join(User, User.id == Image.labelled_by_id, isouter=True)
        .where(Image.id == image_id, Image.project_id == project_id)
    ).first()
    if row is None:
        raise NotFound("There is no such image in this project. It may have been deleted.")
    return Shapes(
        image_id=image_id,
        width_px=row.width_px,
        height_px=row.height_px,
        version=row.version,
        is_labelled=row.is_labelled,
        annotations=annotations_of(session, [image_id]).get(image_id, ()),
        changed_at=row.labelled_at,
        changed_by=row.name,
    )


def annotations_of(session: Session, image_ids: Sequence[int]) -> dict[int, tuple[AnnotationValue, ...]]:
    """Return the annotations of many images, by image; one without any is left out. The caller bounds the ids."""
    rows = session.execute(
        select(Annotation.image_id, Annotation.category_id, Annotation.kind, Annotation.geometry)
        .where(Annotation.image_id.in_(list(image_ids)))
        .order_by(Annotation.id)
    )
    found: dict[int, list[AnnotationValue]] = {}
    for image_id, category_id, kind, geometry in rows:
        shape = {kind: geometry} if kind in SHAPE_KINDS else {}
        value = AnnotationValue.model_validate({"category_id": category_id, **shape})
        found.setdefault(image_id, []).append(value)
    return {image_id: tuple(values) for image_id, values in found.items()}


def set_shapes(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    image_id: int,
    annotations: Sequence[AnnotationValue],
    nothing_to_label: bool = False,
    expected_version: int | None = None,
    pointer: str = "/shapes",
) -> Shapes:
    """Replace all shapes of an image, and return them as they are now.

    Sent twice, it changes once: where the image carries these shapes already, nothing is written, whatever version
    was named.

    Args:
        session: The request's session.
        actor: Who labels.
        project_id: The project.
        image_id: The image.
        annotations: The shapes; none, without `nothing_to_label`, makes the image unlabelled.
        nothing_to_label: A person looked, and there is nothing to mark.
        expected_version: The version that the actor saw; None overwrites whatever is there (programs that import).
        pointer: Where the shapes lie in the request; what is wrong with one is said there.

    Raises:
        NotFound: No such project, or no such image in it.
        PermissionDenied: The actor may not label.
        Invalid: The project's images carry no shapes of this kind, a class is not the project's, a shape leaves the
            image, or there are more than `MAX_SHAPES`; `errors` points at each.
        StaleVersion: Somebody changed them meanwhile; `extra["current"]` says to what, who and when.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    before = load_shapes(session, project_id=project_id, image_id=image_id)
    _check(
        session,
        project,
        annotations,
        nothing_to_label=nothing_to_label,
        width_px=before.width_px,
        height_px=before.height_px,
        pointer=pointer,
    )
    is_labelled = bool(annotations) or nothing_to_label
    if (before.annotations, before.is_labelled) == (tuple(annotations), is_labelled):
        return before
    change = update(Image).where(Image.id == image_id, Image.project_id == project_id)
    if expected_version is not None:
        change = change.where(Image.version == expected_version)
    values = {
        "is_labelled": is_labelled,
        "shape_classes": shape_classes(annotations) if is_labelled else None,
        "version": Image.version + 1,
        "labelled_at": utc_now(),
        "labelled_by_id": actor.user_id,
    }
    if change_rows(session, change.values(values)) == 0:
        raise _stale(load_shapes(session, project_id=project_id, image_id=image_id))
    change_rows(session, delete(Annotation).where(Annotation.image_id == image_id))
    insert_annotations(session, {image_id: annotations}, actor=actor)
    project_service.touch(project)
    loaded = session.identity_map.get(session.identity_key(Image, image_id))
    if loaded is not None:
        session.expire(loaded)  # the update above went past it
    after = load_shapes(session, project_id=project_id, image_id=image_id)
    record(
        session,
        user_id=actor.user_id,
        action="image.label",
        subject=f"image {image_id}",
        project_id=project_id,
        image_id=image_id,
        n_shapes=len(annotations),
        n_before=len(before.annotations),
        version=after.version,
    )
    return after


def shape_classes(annotations: Iterable[AnnotationValue]) -> str:
    """Return what `image.shape_classes` holds for a labelled image: `,3,17,`, or `,` where nothing is marked."""
    ids = sorted({annotation.category_id for annotation in annotations})
    return f",{','.join(map(str, ids))}," if ids else NOTHING


def parse_shape_classes(text: str | None) -> frozenset[int]:
    """Return the classes that `image.shape_classes` names."""
    return frozenset(int(part) for part in (text or "").split(",") if part)


def classes_of(image: HasClasses) -> frozenset[int]:
    """Return the classes that an image holds, whether it carries one or shapes."""
    return parse_shape_classes(image.shape_classes) if image.category_id is None else frozenset({image.category_id})


def insert_annotations(session: Session, by_image: Mapping[int, Sequence[AnnotationValue]], *, actor: Actor) -> None:
    """Insert checked annotations of images that have none; the caller sets the images' own columns."""
    now = utc_now()
    rows = [
        {
            "image_id": image_id,
            "category_id": value.category_id,
            "kind": value.kind,
            "geometry": value.shape.model_dump(mode="json") if value.shape is not None else {},
            "created_by_id": actor.user_id,
            "created_at": now,
        }
        for image_id, annotations in by_image.items()
        for value in annotations
    ]
    if rows:
        session.execute(insert(Annotation), rows)


# --- details ---------------------------------------------------------------------------------------------------------


def _check(
    session: Session,
    project: Project,
    annotations: Sequence[AnnotationValue],
    *,
    nothing_to_label: bool,
    width_px: int,
    height_px: int,
    pointer: str,
) -> None:
    """Refuse shapes that an image of this size in this project cannot have. Raises `Invalid` as `set_shapes` does."""
    task = TaskType(project.task)
    if not task.has_shapes:
        raise Invalid("Images of this project carry one class each, not shapes.")
    if len(annotations) > MAX_SHAPES:
        detail = f"An image carries at most {MAX_SHAPES:,} shapes; these are {len(annotations):,}."
        raise Invalid(detail, [{"pointer": pointer, "detail": detail, "code": "too_many"}])
    if annotations and nothing_to_label:
        detail = "Either there are shapes, or there is nothing to label."
        raise Invalid(detail, [{"pointer": pointer, "detail": detail, "code": "contradiction"}])
    known = {category.id for category in project_service.list_categories(session, project.id)} if annotations else set()
    errors = []
    for number, value in enumerate(annotations):
        problem = _problem(value, known, task, width_px=width_px, height_px=height_px)
        if problem is not None:
            where, detail, code = problem
            errors.append({"pointer": f"{pointer}/{number}/{where}", "detail": detail, "code": code})
            if len(errors) == _MOST_ERRORS:
                break
    if errors:
        number = int(errors[0]["pointer"].removeprefix(pointer).split("/")[1])
        raise Invalid(f"Shape {number + 1}: {errors[0]['detail']}", errors)


def _problem(
    value: AnnotationValue, known: set[int], task: TaskType, *, width_px: int, height_px: int
) -> tuple[str, str, str] | None:
    """Return the member that is wrong, a sentence and a code; None where the shape is good."""
    if value.category_id not in known:
        return "category_id", "The project has no such class.", "unknown_class"
    if value.kind not in task.shape_kinds or value.shape is None:
        wanted = "boxes" if task is TaskType.DETECTION else "polygons and masks"
        return value.kind, f"Images of this project are labelled with {wanted}.", "wrong_kind"
    overflow = find_overflow(value.shape, width_px=width_px, height_px=height_px)
    return (value.kind, overflow, "outside") if overflow else None


def _stale(current: Shapes) -> StaleVersion:
    return StaleVersion(
        f"{current.changed_by or 'Somebody'} changed this image meanwhile. Look at it again, then decide.",
        current=current.as_json(),
    )
