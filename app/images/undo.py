"""Taking a change of many images back: what the messages of the Data screen offer."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from sqlalchemy import select

from app.accounts.permissions import Action, Actor
from app.annotations import service as annotation_service
from app.db.tables import Image
from app.db.visibility import WITH_DELETED
from app.images import reversible
from app.images import service as image_service
from app.images.changes import BulkChange, images_text
from app.web.deps import SessionDep, page_actor

router = APIRouter(prefix="/projects/{project_id}/bulk/undo", include_in_schema=False)

Labeler = Annotated[Actor, Depends(page_actor(Action.LABEL))]
Editor = Annotated[Actor, Depends(page_actor(Action.EDIT))]
Deleter = Annotated[Actor, Depends(page_actor(Action.DELETE))]
Change = Annotated[int, Form(ge=1, le=2**31 - 1)]


@router.post("/labels", name="images.undo_labels")
def undo_labels(request: Request, actor: Labeler, session: SessionDep, project_id: int, change: Change) -> Response:
    """Give the images of one bulk change back the classes that they had."""
    bulk = BulkChange(request, session, actor, project_id, [], everything=True)
    n = annotation_service.undo_bulk(session, actor=actor, project_id=project_id, event_id=change)
    return bulk.answer(f"{images_text(n)} as before")


@router.post("/deleted", name="images.undo_deleted")
def undo_deleted(
    request: Request, actor: Deleter, session: SessionDep, project_id: int, change: Annotated[datetime, Form()]
) -> Response:
    """Bring back the images that were deleted together at this moment."""
    bulk = BulkChange(request, session, actor, project_id, [], everything=True)
    moment = change if change.tzinfo else change.replace(tzinfo=UTC)
    gone = list(
        session.scalars(
            select(Image.id).where(Image.project_id == project_id, Image.deleted_at == moment).order_by(Image.id),
            execution_options=WITH_DELETED,
        )
    )
    n = sum(
        image_service.restore_images(
            session, actor=actor, project_id=project_id, image_ids=gone[start : start + image_service.MAX_IDS]
        )
        for start in range(0, len(gone), image_service.MAX_IDS)
    )
    return bulk.answer(f"{images_text(n)} brought back" if n else "Nothing to bring back")


@router.post("/split", name="images.undo_split")
def undo_split(request: Request, actor: Editor, session: SessionDep, project_id: int, change: Change) -> Response:
    """Put the images of one bulk change back into the splits that they had."""
    bulk = BulkChange(request, session, actor, project_id, [], everything=True)
    n = reversible.undo_split(session, actor=actor, project_id=project_id, event_id=change)
    return bulk.answer(f"{images_text(n)} as before")


@router.post("/tag", name="images.undo_tag")
def undo_tag(request: Request, actor: Labeler, session: SessionDep, project_id: int, change: Change) -> Response:
    """Take the tag of one bulk change from the images that got it, or give it back to those that lost it."""
    bulk = BulkChange(request, session, actor, project_id, [], everything=True)
    n = reversible.undo_tag(session, actor=actor, project_id=project_id, event_id=change)
    return bulk.answer(f"{images_text(n)} as before")
