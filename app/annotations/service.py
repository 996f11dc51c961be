"""Saying what an image shows. Nothing here commits.

An image of a classification project carries at most one class: one row of `annotation`, repeated on the image itself
(`category_id`, `is_labelled`). `version` counts the changes. Whoever changes a label names the version they saw, and
the change is one conditional update: two people at the same image never overwrite each other unseen.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.annotations.schemas import Label
from app.annotations.shapes import NOTHING
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.core.errors import Invalid, NotFound, NothingToUndo, StaleVersion
from app.db.session import change_rows
from app.db.tables import Annotation, AuditEvent, Category, Image, Project, User
from app.images.service import Selection, selected
from app.projects import service as project_service

KIND = "class"
MAX_UNDO_IMAGES = 100_000
_CHUNK = 5_000  # ids in one statement: below every database's limit of parameters


def get_label(session: Session, *, project_id: int, image_id: int) -> Label:
    """Return the label of an image. The caller has checked that the project may be seen.

    Raises:
        NotFound: The project has no such image.
    """
    query = (
        select(Image.id, Image.category_id, Image.version, Image.labelled_at, User.name)
        .join(User, User.id == Image.labelled_by_id, isouter=True)
        .where(Image.id == image_id, Image.project_id == project_id, Image.deleted_at.is_(None))
    )
    row = session.execute(query).first()
    if row is None:
        raise NotFound("There is no such image in this project. It may have been deleted.")
    return Label(row.id, row.category_id, row.version, row.labelled_at, row.name)


def set_class(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    image_id: int,
    category_id: int | None,
    expected_version: int | None = None,
) -> Label:
    """Give an image a class, or none, and return the label as it is now.

    Sent twice, it changes once: where the image carries the class already, nothing is written and nobody's work can
    be lost, so that is no conflict, whatever version was named.

    Args:
        session: The request's session.
        actor: Who labels.
        project_id: The project.
        image_id: The image.
        category_id: The class; None takes the class away.
        expected_version: The version that the actor saw; None overwrites whatever is there (programs that import).

    Raises:
        NotFound: No such project, image or class.
        PermissionDenied: The actor may not label.
        Invalid: Images of the project are labelled with shapes.
        StaleVersion: Somebody gave it another class meanwhile; `extra["current"]` says which, who and when.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    _check_carries_classes(project)
    if category_id is not None:
        project_service.get_category(session, project_id=project_id, category_id=category_id)
    now = utc_now()
    change = (
        update(Image)
        .where(
            Image.id == image_id,
            Image.project_id == project_id,
            Image.deleted_at.is_(None),
            Image.category_id.is_distinct_from(category_id),
        )
        .values(
            category_id=category_id,
            is_labelled=category_id is not None,
            version=Image.version + 1,
            labelled_at=now,
            labelled_by_id=actor.user_id,
        )
    )
    if expected_version is not None:
        change = change.where(Image.version == expected_version)
    if change_rows(session, change) == 0:
        return _unchanged(session, project_id=project_id, image_id=image_id, category_id=category_id)
    _replace_annotations(session, actor, [image_id], category_id)
    project_service.touch(project)
    _expire(session, [image_id])
    label = get_label(session, project_id=project_id, image_id=image_id)
    record(
        session,
        user_id=actor.user_id,
        action="image.label",
        subject=f"image {image_id}",
        project_id=project_id,
        image_id=image_id,
        category_id=category_id or 0,
        version=label.version,
    )
    return label


def bulk_set_class(
    session: Session, *, actor: Actor, project_id: int, selection: Selection, category_id: int | None
) -> tuple[int, int | None]:
    """Give many images a class, or none; return how many changed, and the id for `undo_bulk` (None: none changed).

    Raises:
        NotFound: No such project or class, or an image is not of the project.
        PermissionDenied: The actor may not label.
        Invalid: There are too many images, or images of the project are labelled with shapes.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    _check_carries_classes(project)
    if category_id is not None:
        project_service.get_category(session, project_id=project_id, category_id=category_id)
    condition = selected(session, project_id=project_id, selection=selection)
    # Locked where the database has row locks: what was before must still be before when it is changed.
    rows = session.execute(
        select(Image.id, Image.category_id)
        .where(condition, Image.deleted_at.is_(None), Image.category_id.is_distinct_from(category_id))
        .order_by(Image.id)
        .limit(MAX_UNDO_IMAGES + 1)
        .with_for_update(of=Image)
    ).all()
    if len(rows) > MAX_UNDO_IMAGES:
        raise Invalid(f"At most {MAX_UNDO_IMAGES:,} images can change class at once. Narrow the filter.")
    if not rows:
        return 0, None
    before: dict[str, list[int]] = {}
    for row in rows:
        before.setdefault(str(row.category_id or 0), []).append(row.id)
    moment = _change(session, actor, [row.id for row in rows], category_id)
    return record_bulk(session, actor, project, before, moment=moment, category_id=category_id)


def bulk_nothing_to_label(
    session: Session, *, actor: Actor, project_id: int, selection: Selection
) -> tuple[int, int | None]:
    """Say of the unlabelled images of a selection that there is nothing to mark on them.

    Labelled ones keep their labels. Return how many changed, and the id for `undo_bulk` (None: none changed).

    Raises:
        NotFound: No such project, or an image is not of it.
        PermissionDenied: The actor may not label.
        Invalid: Images of the project carry a class each, or there are too many.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    if not TaskType(project.task).has_shapes:
        raise Invalid("Every labelled image of this project has a class: choose one.")
    condition = selected(session, project_id=project_id, selection=selection)
    query = select(Image.id).where(condition, Image.deleted_at.is_(None), Image.is_labelled.is_(False))
    image_ids = list(session.scalars(query.order_by(Image.id).limit(MAX_UNDO_IMAGES + 1).with_for_update(of=Image)))
    if len(image_ids) > MAX_UNDO_IMAGES:
        raise Invalid(f"At most {MAX_UNDO_IMAGES:,} images can be labelled at once. Narrow the filter.")
    if not image_ids:
        return 0, None
    moment = _change(session, actor, image_ids, None, shape_classes=NOTHING)
    return record_bulk(session, actor, project, {"0": image_ids}, moment=moment)


def record_bulk(
    session: Session,
    actor: Actor,
    project: Project,
    before: Mapping[str, list[int]],
    *,
    moment: datetime,
    category_id: int | None = None,
) -> tuple[int, int]:
    """Write down that many images were labelled, for `undo_bulk`; return how many, and the id to undo it by.

    Args:
        session: The caller's.
        actor: Who labelled them.
        project: Theirs.
        before: The ids of the images by the id of the class that they had, as text; "0" for none.
        moment: What they carry as `labelled_at` now.
        category_id: The class that they have now.
    """
    project_service.touch(project)
    count = sum(len(image_ids) for image_ids in before.values())
    event = AuditEvent(
        user_id=actor.user_id,
        action="image.label_many",
        subject=project.name,
        data={
            "project_id": project.id,
            "category_id": category_id or 0,
            "count": count,
            "at": moment.isoformat(),
            "before": dict(before),
        },
    )
    session.add(event)
    session.flush()
    return count, event.id


def undo_bulk(session: Session, *, actor: Actor, project_id: int, event_id: int) -> int:
    """Give the images of one bulk change back the classes they had; return how many.

    An image that somebody changed after it keeps that change.

    Raises:
        NotFound: No such project, or the change was not made by the actor in it.
        PermissionDenied: The actor may not label.
        NothingToUndo: It was undone already, or all its images were changed since.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    event = session.get(AuditEvent, event_id)
    if (
        event is None
        or event.action != "image.label_many"
        or event.user_id != actor.user_id
        or event.data.get("project_id") != project_id
    ):
        raise NotFound("There is no such change to undo.")
    known = set(session.scalars(select(Category.id).where(Category.project_id == project_id)))
    n_restored = 0
    for key, image_ids in event.data["before"].items():
        category_id = int(key) or None
        if category_id is not None and category_id not in known:
            continue  # the class was deleted meanwhile
        untouched = _still(session, image_ids, category_id=event.data["category_id"] or None, at=event.data["at"])
        if untouched:
            _change(session, actor, untouched, category_id)
        n_restored += len(untouched)
    if not n_restored:
        raise NothingToUndo("This was undone already, or the images were labelled anew since.")
    project_service.touch(project)
    record(
        session,
        user_id=actor.user_id,
        action="image.label_undo",
        subject=project.name,
        project_id=project_id,
        count=n_restored,
    )
    return n_restored


# --- details ---------------------------------------------------------------------------------------------------------


def _check_carries_classes(project: Project) -> None:
    if TaskType(project.task).has_shapes:
        raise Invalid("Images of this project are labelled with shapes, not with one class.")


def _unchanged(session: Session, *, project_id: int, image_id: int, category_id: int | None) -> Label:
    """Tell why nothing was changed: there is no such image, it has the class already, or it changed meanwhile."""
    label = get_label(session, project_id=project_id, image_id=image_id)
    if label.category_id == category_id:
        return label
    raise StaleVersion(
        f"{label.changed_by or 'Somebody'} changed this image meanwhile. Look at it again, then decide.",
        current={
            "category_id": label.category_id,
            "version": label.version,
            "changed_by": label.changed_by,
            "changed_at": label.changed_at.isoformat() if label.changed_at else None,
        },
    )


def _change(
    session: Session,
    actor: Actor,
    image_ids: Sequence[int],
    category_id: int | None,
    *,
    shape_classes: str | None = None,
) -> datetime:
    """Set the class of images whose class is another one; return the moment, which marks this change on each."""
    moment = utc_now()
    for start in range(0, len(image_ids), _CHUNK):
        chunk = list(image_ids[start : start + _CHUNK])
        session.execute(
            update(Image)
            .where(Image.id.in_(chunk))
            .values(
                category_id=category_id,
                shape_classes=shape_classes,
                is_labelled=category_id is not None or shape_classes is not None,
                version=Image.version + 1,
                labelled_at=moment,
                labelled_by_id=actor.user_id,
            )
            .execution_options(synchronize_session=False)
        )
        _replace_annotations(session, actor, chunk, category_id)
    _expire(session, image_ids)
    return moment


def _replace_annotations(session: Session, actor: Actor, image_ids: list[int], category_id: int | None) -> None:
    session.execute(
        delete(Annotation).where(Annotation.image_id.in_(image_ids)).execution_options(synchronize_session=False)
    )
    if category_id is not None:
        now = utc_now()
        session.execute(
            insert(Annotation),
            [
                {
                    "image_id": image_id,
                    "category_id": category_id,
                    "kind": KIND,
                    "geometry": {},
                    "created_by_id": actor.user_id,
                    "created_at": now,
                }
                for image_id in image_ids
            ],
        )


def _still(session: Session, image_ids: Sequence[int], *, category_id: int | None, at: str) -> list[int]:
    """Return which of the images are as the bulk change of the moment `at` left them."""
    moment = datetime.fromisoformat(at)
    found: list[int] = []
    for start in range(0, len(image_ids), _CHUNK):
        found += session.scalars(
            select(Image.id)
            .where(
                Image.id.in_(list(image_ids[start : start + _CHUNK])),
                Image.deleted_at.is_(None),
                Image.labelled_at == moment,
                Image.category_id.is_not_distinct_from(category_id),
            )
            .with_for_update(of=Image)
        )
    return found


def _expire(session: Session, image_ids: Sequence[int]) -> None:
    """Let images that the session holds be read again: the updates above went past it."""
    changed = set(image_ids)
    for row in list(session.identity_map.values()):
        if isinstance(row, Image) and row.id in changed:
            session.expire(row)
