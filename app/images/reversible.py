"""Splits and tags of many images, changed so that the change can be undone image by image. Nothing here commits.

What each image had before is kept in the audit event of the change, as `app.annotations.service` does for classes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Integer, UpdateBase, delete, insert, literal, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.contracts.tasks import Split
from app.core.errors import NotFound, NothingToUndo
from app.db.session import change_rows
from app.db.tables import AuditEvent, Image, ImageTag, Project, Tag
from app.images import service as image_service
from app.images.service import Selection, selected
from app.projects import service as project_service

MAX_UNDO_IMAGES = 100_000  # a larger change goes through, but cannot be undone
_CHUNK = 5_000  # ids in one statement: below every database's limit of parameters
_SPLIT, _TAG = "image.split_many", "image.tag_many"


def set_split(
    session: Session, *, actor: Actor, project_id: int, selection: Selection, split: Split | str | None
) -> tuple[int, int | None]:
    """Put images into a split, or out of all with None; return how many changed, and the id for `undo_split`.

    The id is None where nothing changed, or too much to be kept. Raises as `image_service.set_split` does.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    value = image_service.checked_split(split)
    # Locked where the database has row locks: what was before must still be before when it is changed.
    rows = session.execute(
        select(Image.id, Image.split)
        .where(
            selected(session, project_id=project_id, selection=selection),
            Image.split.is_distinct_from(value),
        )
        .order_by(Image.id)
        .limit(MAX_UNDO_IMAGES + 1)
        .with_for_update(of=Image)
    ).all()
    n = image_service.set_split(session, actor=actor, project_id=project_id, selection=selection, split=value)
    before: dict[str, list[int]] = {}
    for row in rows:
        before.setdefault(row.split or "", []).append(row.id)
    return n, _keep(session, actor, project, _SPLIT, len(rows), split=value or "", before=before)


def change_tag(
    session: Session, *, actor: Actor, project_id: int, selection: Selection, name: str, add: bool
) -> tuple[int, int | None]:
    """Give images a tag by its name, or take it from them; return how many changed, and the id for `undo_tag`.

    The id is None where nothing changed, or too much to be kept. Raises as `image_service.add_tags` does.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    carries = (
        select(ImageTag.image_id)
        .join(Tag, Tag.id == ImageTag.tag_id)
        .where(ImageTag.image_id == Image.id, Tag.project_id == project_id, Tag.name == name)
        .exists()
    )
    condition = selected(session, project_id=project_id, selection=selection)
    image_ids = list(
        session.scalars(
            select(Image.id)
            .where(condition, ~carries if add else carries)
            .order_by(Image.id)
            .limit(MAX_UNDO_IMAGES + 1)
            .with_for_update(of=Image)
        )
    )
    where: dict[str, Any] = {"actor": actor, "project_id": project_id, "selection": selection}
    if add:
        image_service.add_tags(session, names=[name], **where)
    tag_id = session.scalar(select(Tag.id).where(Tag.project_id == project_id, Tag.name == name))
    if not add and tag_id is not None:
        image_service.remove_tags(session, tag_ids=[tag_id], **where)
    event_id = _keep(session, actor, project, _TAG, len(image_ids), tag_id=tag_id, added=add, images=image_ids)
    return len(image_ids), event_id


def undo_split(session: Session, *, actor: Actor, project_id: int, event_id: int) -> int:
    """Put the images of one change back into the splits that they had; return how many.

    An image that was moved on since stays where it is.

    Raises:
        NotFound: No such project, or the change was not made by the actor in it.
        PermissionDenied: The actor may not edit the project.
        NothingToUndo: It was undone already, or all its images were moved since.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    data = _recall(session, actor, project_id, event_id, _SPLIT)
    n = 0
    for split, image_ids in data["before"].items():
        for chunk in _chunks(image_ids):
            unmoved = Image.split.is_not_distinct_from(data["split"] or None)
            n += change_rows(session, update(Image).where(Image.id.in_(chunk), unmoved).values(split=split or None))
    _undone(session, actor, project, _SPLIT, event_id, n)
    return n


def undo_tag(session: Session, *, actor: Actor, project_id: int, event_id: int) -> int:
    """Take a tag from the images that one change gave it to, or give it back to those it was taken from.

    Return how many images changed. An image whose tag was changed since stays as it is.

    Raises:
        NotFound: No such project or tag, or the change was not made by the actor in it.
        PermissionDenied: The actor may not label.
        NothingToUndo: It was undone already, or all its images were changed since.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    data = _recall(session, actor, project_id, event_id, _TAG)
    tag = project_service.get_tag(session, project_id=project_id, tag_id=data["tag_id"])
    carries = select(ImageTag.tag_id).where(ImageTag.image_id == Image.id, ImageTag.tag_id == tag.id).exists()
    n = 0
    for chunk in _chunks(data["images"]):
        if data["added"]:
            change: UpdateBase = delete(ImageTag).where(ImageTag.tag_id == tag.id, ImageTag.image_id.in_(chunk))
        else:
            lacking = select(Image.id, literal(tag.id, Integer)).where(Image.id.in_(chunk), ~carries)
            change = insert(ImageTag).from_select(["image_id", "tag_id"], lacking)
        n += change_rows(session, change)
    _undone(session, actor, project, _TAG, event_id, n)
    return n


# --- details ---------------------------------------------------------------------------------------------------------


def _keep(session: Session, actor: Actor, project: Project, action: str, n: int, **data: object) -> int | None:
    """Write down a change with what was before; return its id, None where there is nothing, or too much, to keep."""
    if n == 0:
        return None
    project_service.touch(project)
    if n > MAX_UNDO_IMAGES:
        record(session, user_id=actor.user_id, action=action, subject=project.name, project_id=project.id)
        return None
    event = AuditEvent(
        user_id=actor.user_id,
        action=action,
        subject=project.name[:200],
        data={"project_id": project.id, "count": n, **data},
    )
    session.add(event)
    session.flush()
    return event.id


def _recall(session: Session, actor: Actor, project_id: int, event_id: int, action: str) -> dict[str, Any]:
    """Return what was kept of a change that the actor made and has not undone yet."""
    event = session.get(AuditEvent, event_id)
    if (
        event is None
        or (event.action, event.user_id) != (action, actor.user_id)
        or event.data.get("project_id") != project_id
        or "count" not in event.data  # too large to be kept
    ):
        raise NotFound("There is no such change to undo.")
    later = select(AuditEvent.data).where(
        AuditEvent.id > event_id, AuditEvent.action == f"{action}_undo", AuditEvent.user_id == actor.user_id
    )
    if any(data["change"] == event_id for data in session.scalars(later)):
        raise NothingToUndo("This was undone already.")
    return event.data


def _undone(session: Session, actor: Actor, project: Project, action: str, event_id: int, n: int) -> None:
    if not n:
        raise NothingToUndo("These images were changed anew since.")
    project_service.touch(project)
    record(
        session,
        user_id=actor.user_id,
        action=f"{action}_undo",
        subject=project.name,
        project_id=project.id,
        change=event_id,
        count=n,
    )


def _chunks(image_ids: Sequence[int]) -> Iterator[list[int]]:
    return (list(image_ids[start : start + _CHUNK]) for start in range(0, len(image_ids), _CHUNK))
