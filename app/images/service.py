"""What is done to images once they are in: splits, tags, deleting and bringing back. Nothing here commits.

Every function asks for the project first, so that an id of another project is as unknown as one that never was.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Integer, Select, delete, func, insert, literal, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.contracts.tasks import Split
from app.core.clock import utc_now
from app.core.errors import Invalid, NotFound
from app.datasets import service as dataset_service
from app.db.session import change_rows
from app.db.tables import Image, ImageTag, Project, Tag
from app.db.visibility import WITH_DELETED, WITH_REFERENCES
from app.projects import service as project_service
from app.storage import keys
from app.storage.current import blobs
from app.storage.errors import BlobMissing

log = logging.getLogger(__name__)

MAX_IDS = 10_000
KEEP_DELETED_DAYS = 30

# Ids of images, or a query for them (a filter), or None for every image of the project.
Selection = Sequence[int] | Select[tuple[int]] | None


def get_image(session: Session, *, actor: Actor, project_id: int, image_id: int, action: Action) -> Image:
    """Return an image of a project that the actor may see and do `action` in, a reference too.

    Raises:
        NotFound: No such project, or no such image in it, or the actor may not see it.
        PermissionDenied: The actor may see it, but not do this.
    """
    project_service.get_for(session, actor=actor, project_id=project_id, action=action)
    image = session.get(Image, image_id, execution_options=WITH_REFERENCES)
    if image is None or image.project_id != project_id:
        raise NotFound("There is no such image in this project.")
    return image


def selected(session: Session, *, project_id: int, selection: Selection) -> ColumnElement[bool]:
    """Return the condition under which an image belongs to the selection. The caller has checked the project.

    Raises:
        NotFound: An id is not of this project.
        Invalid: More than `MAX_IDS` ids.
    """
    of_project = Image.project_id == project_id
    if selection is None:
        return of_project
    if isinstance(selection, Select):
        return of_project & Image.id.in_(selection)
    ids = set(selection)
    if len(ids) > MAX_IDS:
        raise Invalid(f"At most {MAX_IDS:,} images can be changed at once by their ids.", limit=MAX_IDS)
    condition = of_project & Image.id.in_(ids)
    if session.scalar(select(func.count(Image.id)).where(condition)) != len(ids):
        raise NotFound("Not all of these images are in this project.")
    return condition


def set_split(
    session: Session, *, actor: Actor, project_id: int, selection: Selection, split: Split | str | None
) -> int:
    """Put images into a split, or out of all with None; return how many changed.

    Raises:
        NotFound: No such project, or an image is not of it.
        PermissionDenied: The actor may not edit the project.
        Invalid: The split is none of train, dev and test, or there are too many ids.
    """
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    value = checked_split(split)
    condition = selected(session, project_id=project_id, selection=selection)
    changed = Image.split.is_not(None) if value is None else Image.split.is_distinct_from(value)
    return change_rows(session, update(Image).where(condition, changed).values(split=value))


def checked_split(split: Split | str | None) -> str | None:
    """Return the name of a split, None for an empty one. Raises `Invalid` for any other word."""
    if split is None or split == "":
        return None
    try:
        return Split(split).value
    except ValueError as error:
        detail = "The split is train, dev or test."
        raise Invalid(detail, [{"pointer": "/split", "detail": detail, "code": "split"}]) from error


def add_tags(
    session: Session, *, actor: Actor, project_id: int, selection: Selection, names: Sequence[str]
) -> list[Tag]:
    """Give images these tags, and return the tags. A tag that the project lacks is made, if the actor may edit.

    Raises:
        NotFound: No such project, or an image is not of it.
        PermissionDenied: The actor may not label, or may not make a tag that does not exist.
        Invalid: A name is not acceptable, or there are too many ids.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    known = {tag.name: tag for tag in project_service.list_tags(session, project_id)}
    tags = []
    for name in dict.fromkeys(project_service.required_name(name) for name in names):
        if name not in known:
            actor.require(Action.EDIT)
            known[name] = project_service.ensure_tag(session, project=project, name=name)
        tags.append(known[name])
    condition = selected(session, project_id=project_id, selection=selection)
    for tag in tags:
        lacks = ~select(ImageTag.tag_id).where(ImageTag.image_id == Image.id, ImageTag.tag_id == tag.id).exists()
        rows = select(Image.id, literal(tag.id, Integer)).where(condition, lacks)
        session.execute(insert(ImageTag).from_select(["image_id", "tag_id"], rows))
    return tags


def remove_tags(
    session: Session, *, actor: Actor, project_id: int, selection: Selection, tag_ids: Sequence[int]
) -> int:
    """Take these tags from images; return how many were taken. Raises as `add_tags` does."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    for tag_id in tag_ids:
        project_service.get_tag(session, project_id=project_id, tag_id=tag_id)
    condition = selected(session, project_id=project_id, selection=selection)
    chosen = select(Image.id).where(condition)
    given = delete(ImageTag).where(ImageTag.image_id.in_(chosen), ImageTag.tag_id.in_(list(tag_ids)))
    return change_rows(session, given)


def delete_images(session: Session, *, actor: Actor, project_id: int, selection: Selection) -> int:
    """Delete images; return how many. They can be brought back for `KEEP_DELETED_DAYS` days.

    Raises:
        NotFound: No such project, or an image is not of it.
        PermissionDenied: The actor may not delete.
        Invalid: There are too many ids.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.DELETE)
    condition = selected(session, project_id=project_id, selection=selection)
    count = change_rows(session, update(Image).where(condition).values(deleted_at=utc_now()))
    _record_count(session, actor, project, "image.delete", count)
    return count


def restore_images(session: Session, *, actor: Actor, project_id: int, image_ids: Sequence[int]) -> int:
    """Bring deleted images back with their labels; return how many came.

    Images that were purged, or uploaded again meanwhile, stay away.

    Raises:
        NotFound: No such project.
        PermissionDenied: The actor may not delete, and so not undo it.
        Invalid: There are too many ids.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.DELETE)
    if len(image_ids) > MAX_IDS:
        raise Invalid(f"At most {MAX_IDS:,} images can be brought back at once.", limit=MAX_IDS)
    deleted = Image.__table__.alias("deleted")
    live = Image.__table__.alias("live")
    # Of several deleted images with the same bytes the newest comes back: two would break the rule of one.
    newest = (
        select(func.max(deleted.c.id))
        .where(
            deleted.c.project_id == project_id,
            deleted.c.id.in_(list(image_ids)),
            deleted.c.deleted_at.is_not(None),
            ~select(live.c.id)
            .where(live.c.project_id == project_id, live.c.sha256 == deleted.c.sha256, live.c.deleted_at.is_(None))
            .exists(),
        )
        .group_by(deleted.c.sha256)
    )
    back = update(Image).where(Image.id.in_(newest)).values(deleted_at=None)
    count = change_rows(session, back, **WITH_DELETED)
    _record_count(session, actor, project, "image.restore", count)
    return count


def _record_count(session: Session, actor: Actor, project: Project, action: str, count: int) -> None:
    """Note in the audit and on the project that `count` images changed; nothing where none did."""
    if count:
        record(
            session,
            user_id=actor.user_id,
            action=action,
            subject=project.name,
            project_id=project.id,
            count=count,
        )
        project_service.touch(project)


def purge_deleted(session: Session, *, keep_days: float = KEEP_DELETED_DAYS, limit: int = 500) -> int:
    """Remove images for good that were deleted more than `keep_days` ago, `limit` at a time; return how many.

    Bytes that another row still needs stay, be it of another project that grew out of this one; and so do those that a
    dataset version names: what a model learned from can be trained on again. For the scheduler: call it until it
    returns 0, each time in a transaction of its own, which on SQLite keeps an upload of the same bytes waiting until
    the files are gone.
    """
    expired = session.execute(
        select(Image.id, Image.project_id, Image.sha256, Image.blob_key, Image.thumb_key)
        .where(Image.deleted_at < utc_now() - timedelta(days=keep_days))
        .order_by(Image.id)
        .limit(limit),
        execution_options=WITH_DELETED,
    ).all()
    if not expired:
        return 0
    session.execute(
        delete(Image).where(Image.id.in_([row.id for row in expired])),
        execution_options={"synchronize_session": False, **WITH_DELETED},
    )
    left = session.execute(
        select(Image.project_id, Image.sha256, Image.blob_key).where(
            Image.blob_key.in_({row.blob_key for row in expired}) | Image.sha256.in_({row.sha256 for row in expired})
        ),
        execution_options=WITH_DELETED,
    ).all()
    still_used, still_shown = {row.blob_key for row in left}, {(row.project_id, row.sha256) for row in left}
    for row in expired:
        if (row.project_id, row.sha256) not in still_shown:
            blobs().delete(keys.thumbnail(row.project_id, row.sha256))
            blobs().delete(keys.display(row.project_id, row.sha256))
    unused = [row for row in expired if row.blob_key not in still_used]
    named = {project_id: _named_originals(session, project_id) for project_id in {row.project_id for row in unused}}
    for row in unused:
        of_project = named[row.project_id]
        if of_project is not None and row.blob_key not in of_project:
            blobs().delete(row.blob_key)
    return len(expired)


def _named_originals(session: Session, project_id: int) -> set[str] | None:
    """Return the keys that the project's dataset versions name, or None where that cannot be known any more."""
    try:
        return dataset_service.named_originals(session, project_id)
    except BlobMissing:
        log.warning("originals of project %s are kept: the file of a dataset version is missing", project_id)
        return None
