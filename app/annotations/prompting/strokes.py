"""Strokes of an image, read and replaced as a whole. Nothing here commits.

Whoever changes them names the version they saw, as for shapes: of two people at one image nobody's strokes are lost
unseen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.contracts.strokes import Stroke, find_outside
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.core.errors import Invalid, NotFound, StaleVersion
from app.db.session import change_rows
from app.db.tables import Image, ImageStrokes, Project, User
from app.projects import service as project_service


@dataclass(frozen=True, slots=True)
class Painted:
    """The strokes of one image as they are stored; version 0 where nobody ever painted on it."""

    image_id: int
    width_px: int
    height_px: int
    version: int
    strokes: tuple[Stroke, ...]
    changed_by: str | None

    def as_json(self) -> dict[str, Any]:
        """Return what the editor reads."""
        return {
            "version": self.version,
            "strokes": [stroke.model_dump(mode="json") for stroke in self.strokes],
            "changed_by": self.changed_by,
        }


def get_project(session: Session, *, actor: Actor, project_id: int, action: Action) -> Project:
    """Return a segmentation project that the actor may do `action` in.

    Raises:
        NotFound: No such project, the actor may not see it, or it is of another type.
        PermissionDenied: The actor may not do this.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=action)
    if project.task != TaskType.SEGMENTATION:
        raise NotFound("Strokes make masks: they are for segmentation projects, and this is none.")
    return project


def get_strokes(session: Session, *, actor: Actor, project_id: int, image_id: int) -> Painted:
    """Return the strokes of an image.

    Raises:
        NotFound: No such project, or no such image in it, or the actor may not see it.
    """
    get_project(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return _load(session, project_id=project_id, image_id=image_id)


def set_strokes(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    image_id: int,
    strokes: Sequence[Stroke],
    expected_version: int,
) -> Painted:
    """Replace all strokes of an image, and return them as they are now. Sent twice, it changes once.

    Raises:
        NotFound: No such project, or no such image in it.
        PermissionDenied: The actor may not label.
        Invalid: A class is not the project's, or a stroke leaves the image.
        StaleVersion: Somebody changed them meanwhile; `extra["current"]` says to what.
    """
    project = get_project(session, actor=actor, project_id=project_id, action=Action.LABEL)
    before = _load(session, project_id=project_id, image_id=image_id)
    _check(session, project_id, strokes, before)
    if before.strokes == tuple(strokes):
        return before
    values = {
        "strokes": [stroke.model_dump(mode="json") for stroke in strokes],
        "n_strokes": len(strokes),
        "changed_by_id": actor.user_id,
        "changed_at": utc_now(),
    }
    if not _write(session, project_id, image_id, expected_version, values):
        current = _load(session, project_id=project_id, image_id=image_id)
        raise StaleVersion(
            f"{current.changed_by or 'Somebody'} painted on this image meanwhile. Look at it again, then decide.",
            current=current.as_json(),
        )
    project_service.touch(project)
    record(
        session,
        user_id=actor.user_id,
        action="image.prompt",
        subject=f"image {image_id}",
        project_id=project_id,
        image_id=image_id,
        n_strokes=len(strokes),
        n_before=len(before.strokes),
    )
    return _load(session, project_id=project_id, image_id=image_id)


def load_strokes(session: Session, project_id: int) -> list[tuple[int, tuple[Stroke, ...]]]:
    """Return the strokes of a project, by image, in the order of the images."""
    rows = session.execute(
        select(ImageStrokes.image_id, ImageStrokes.strokes)
        .join(Image, Image.id == ImageStrokes.image_id)
        .where(ImageStrokes.project_id == project_id, ImageStrokes.n_strokes > 0)
        .order_by(ImageStrokes.image_id)
    )
    return [(image_id, tuple(Stroke.model_validate(one) for one in strokes)) for image_id, strokes in rows]


# --- details ---------------------------------------------------------------------------------------------------------


def _load(session: Session, *, project_id: int, image_id: int) -> Painted:
    row = session.execute(
        select(Image.width_px, Image.height_px, ImageStrokes.version, ImageStrokes.strokes, User.name)
        .outerjoin(ImageStrokes, ImageStrokes.image_id == Image.id)
        .outerjoin(User, User.id == ImageStrokes.changed_by_id)
        .where(Image.id == image_id, Image.project_id == project_id)
    ).first()
    if row is None:
        raise NotFound("There is no such image in this project. It may have been deleted.")
    strokes = tuple(Stroke.model_validate(one) for one in row.strokes or ())
    return Painted(image_id, row.width_px, row.height_px, row.version or 0, strokes, row.name)


def _check(session: Session, project_id: int, strokes: Sequence[Stroke], image: Painted) -> None:
    known = {category.id for category in project_service.list_categories(session, project_id)}
    for number, stroke in enumerate(strokes):
        if stroke.category_id is not None and stroke.category_id not in known:
            raise _invalid(number, "category_id", "The project has no such class.", "unknown_class")
    outside = find_outside(strokes, width_px=image.width_px, height_px=image.height_px)
    if outside is not None:
        raise _invalid(outside[0], "points", outside[1], "outside")


def _invalid(number: int, member: str, detail: str, code: str) -> Invalid:
    pointer = f"/strokes/{number}/{member}"
    return Invalid(f"Stroke {number + 1}: {detail}", [{"pointer": pointer, "detail": detail, "code": code}])


def _write(session: Session, project_id: int, image_id: int, expected_version: int, values: dict[str, Any]) -> bool:
    """Store strokes over the expected version; return whether it was still that one."""
    if expected_version:
        own = update(ImageStrokes).where(ImageStrokes.image_id == image_id, ImageStrokes.version == expected_version)
        return change_rows(session, own.values(version=ImageStrokes.version + 1, **values)) > 0
    try:
        with session.begin_nested():
            session.execute(insert(ImageStrokes).values(image_id=image_id, project_id=project_id, version=1, **values))
    except IntegrityError:  # somebody painted first
        return False
    return True
