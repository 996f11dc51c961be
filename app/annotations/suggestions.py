"""Where the editor of shapes asks what a click means. Nothing is written; it labels, so whoever may label may ask."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from app.accounts.permissions import Action, Actor
from app.annotations.magic import service as magic_service
from app.annotations.magic.prompts import MagicBody
from app.web.deps import page_actor

router = APIRouter(prefix="/projects/{project_id}/label/{image_id}/magic", include_in_schema=False)

Labeler = Annotated[Actor, Depends(page_actor(Action.LABEL))]


@router.get("", name="annotations.magic_warm")
def warm(actor: Labeler, project_id: int, image_id: int) -> JSONResponse:
    """Look at an image before the first click; answer whether a backbone is ready to help."""
    found = magic_service.warm(actor=actor, project_id=project_id, image_id=image_id)
    return JSONResponse({"has_features": found})


@router.post("", name="annotations.magic")
def propose(actor: Labeler, project_id: int, image_id: int, body: MagicBody) -> JSONResponse:
    """Answer the mask that gestures mean, or only its box where the project's images carry boxes."""
    found = magic_service.propose_mask(
        actor=actor, project_id=project_id, image_id=image_id, prompts=body.prompts, view=body.view
    )
    return JSONResponse(found)
