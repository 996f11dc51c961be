"""What runs made of strokes: read for the screen, and taken over as labels. Nothing here commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations import service as annotation_service
from app.annotations.prompting.strokes import get_project
from app.annotations.shapes import NOTHING, insert_annotations, shape_classes
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import Mask
from app.core.clock import utc_now
from app.core.errors import Invalid
from app.db.session import change_rows
from app.db.tables import Category, Image, ImageStrokes, PromptedMasks
from app.projects import service as project_service

PAGE_SIZE = 60
_CHUNK = 500  # images in one statement


@dataclass(frozen=True, slots=True)
class MarkedImage:
    """One image of the results, with what was found on it; `masks` is None where no run looked at it yet."""

    id: int
    name: str
    width_px: int
    height_px: int
    is_labelled: bool
    n_strokes: int
    masks: tuple[Mapping[str, Any], ...] | None


def list_images(session: Session, project_id: int, *, skip: int = 0) -> list[MarkedImage]:
    """Return a page of a project's images: those painted on first, then by their best mask.

    The caller has checked that the project may be seen.
    """
    n_strokes = func.coalesce(ImageStrokes.n_strokes, 0)
    query = (
        select(Image.id, Image.name, Image.width_px, Image.height_px, Image.is_labelled, n_strokes, PromptedMasks.masks)
        .outerjoin(ImageStrokes, ImageStrokes.image_id == Image.id)
        .outerjoin(PromptedMasks, PromptedMasks.image_id == Image.id)
        .where(Image.project_id == project_id)
        .order_by((n_strokes > 0).desc(), func.coalesce(PromptedMasks.score, -1.0).desc(), Image.id)
        .offset(skip)
        .limit(PAGE_SIZE)
    )
    return [_marked(*row) for row in session.execute(query)]


def _marked(
    image_id: int, name: str, width_px: int, height_px: int, is_labelled: bool, n_strokes: int, masks: list[Any] | None
) -> MarkedImage:
    return MarkedImage(
        image_id, name, width_px, height_px, is_labelled, n_strokes, tuple(masks) if masks is not None else None
    )


def find_masks(session: Session, *, project_id: int, image_id: int) -> PromptedMasks | None:
    """Return what the last run found on an image; None where none looked at it."""
    return session.scalar(
        select(PromptedMasks)
        .join(Image, Image.id == PromptedMasks.image_id)
        .where(PromptedMasks.image_id == image_id, Image.project_id == project_id)
    )


def store(session: Session, *, project_id: int, job_id: UUID, found: Mapping[int, Sequence[Mapping[str, Any]]]) -> None:
    """Put what a run found in the place of what was found before, by image; an image that is gone is left out."""
    image_ids = list(found)
    living = set(session.scalars(select(Image.id).where(Image.id.in_(image_ids), Image.project_id == project_id)))
    before = {
        one.image_id: one for one in session.scalars(select(PromptedMasks).where(PromptedMasks.image_id.in_(image_ids)))
    }
    now = utc_now()
    for image_id in image_ids:
        if image_id not in living:
            continue
        row = before.get(image_id) or PromptedMasks(image_id=image_id, project_id=project_id)
        row.job_id, row.made_at = job_id, now
        row.masks = list(found[image_id])
        row.score = max((float(one["score"]) for one in found[image_id]), default=0.0)
        session.add(row)
    session.flush()


def use_as_labels(
    session: Session, *, actor: Actor, project_id: int, nothing_elsewhere: bool = False
) -> tuple[int, int]:
    """Make labels of the masks of all images that have none; return how many, and the id for `undo_bulk`.

    Labelled images keep their labels.

    Args:
        nothing_elsewhere: Images that a run looked at and found nothing on are labelled so: nothing to label.

    Raises:
        NotFound: No such project.
        PermissionDenied: The actor may not label.
        Invalid: There is no image to label.
    """
    project = get_project(session, actor=actor, project_id=project_id, action=Action.LABEL)
    query = (
        select(Image.id, PromptedMasks.masks)
        .join(PromptedMasks, PromptedMasks.image_id == Image.id)
        .where(Image.project_id == project_id, Image.is_labelled.is_(False))
        .order_by(Image.id)
        .with_for_update(of=Image)
    )
    if not nothing_elsewhere:
        query = query.where(PromptedMasks.score > 0)
    known = {category.id for category in project_service.list_categories(session, project_id)}
    found = {image_id: _as_annotations(masks, known) for image_id, masks in session.execute(query)}
    found = {image_id: drawn for image_id, drawn in found.items() if drawn or nothing_elsewhere}
    if not found:
        raise Invalid("Every image with a mask has labels already. Labels are never overwritten from here.")
    moment = utc_now()
    by_classes: dict[str, list[int]] = {}
    for image_id, drawn in found.items():
        by_classes.setdefault(shape_classes(drawn) if drawn else NOTHING, []).append(image_id)
    for held, image_ids in by_classes.items():
        for start in range(0, len(image_ids), _CHUNK):
            change_rows(
                session,
                update(Image)
                .where(Image.id.in_(image_ids[start : start + _CHUNK]))
                .values(
                    shape_classes=held,
                    is_labelled=True,
                    version=Image.version + 1,
                    labelled_at=moment,
                    labelled_by_id=actor.user_id,
                ),
            )
    insert_annotations(session, found, actor=actor)
    return annotation_service.record_bulk(session, actor, project, {"0": list(found)}, moment=moment)


def load_drafts(session: Session, *, project_id: int, image_id: int) -> PromptedMasks | None:
    """Return the masks of an image to be offered as drafts, without those of classes that are gone."""
    row = find_masks(session, project_id=project_id, image_id=image_id)
    if row is not None:
        known = set(session.scalars(select(Category.id).where(Category.project_id == project_id)))
        session.expunge(row)
        row.masks = [one for one in row.masks if one["category_id"] in known]
    return row


def _as_annotations(masks: Sequence[Mapping[str, Any]], known: set[int]) -> tuple[AnnotationValue, ...]:
    return tuple(
        AnnotationValue(category_id=one["category_id"], mask=Mask.model_validate(one["mask"]))
        for one in masks
        if one["category_id"] in known
    )
