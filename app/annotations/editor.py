"""What the editor of shapes reads and saves, as JSON; it sends `X-Requested-With: kizu`, and is answered alike."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.accounts.permissions import Action, Actor
from app.annotations import shapes as shape_service
from app.annotations.schemas import bounded
from app.contracts.dataset import AnnotationValue
from app.web.deps import SessionDep, page_actor

router = APIRouter(prefix="/projects/{project_id}/label/{image_id}/shapes", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Labeler = Annotated[Actor, Depends(page_actor(Action.LABEL))]


class ShapesBody(BaseModel):
    """All shapes of an image, and the version that they were drawn on."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=0, le=2**31 - 1)
    shapes: Annotated[list[AnnotationValue], BeforeValidator(bounded)]
    nothing_to_label: bool = False


@router.get("", name="annotations.shapes")
def get_shapes(actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> JSONResponse:
    """Answer the shapes of an image, with the version to name when they are saved."""
    found = shape_service.get_shapes(session, actor=actor, project_id=project_id, image_id=image_id)
    return JSONResponse(found.as_json())


@router.put("", name="annotations.set_shapes")
def set_shapes(actor: Labeler, session: SessionDep, project_id: int, image_id: int, body: ShapesBody) -> JSONResponse:
    """Save all shapes of an image; where somebody was faster, answer 409 with theirs as `current`."""
    saved = shape_service.set_shapes(
        session,
        actor=actor,
        project_id=project_id,
        image_id=image_id,
        annotations=body.shapes,
        nothing_to_label=body.nothing_to_label,
        expected_version=body.version,
    )
    return JSONResponse({"version": saved.version})
