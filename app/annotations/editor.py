"""What the editor of shapes reads and saves, as JSON; it sends `X-Requested-With: kizu`, and is answered alike."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.accounts.permissions import Action, Actor
from app.annotations import shapes as shape_service
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import MAX_SHAPES
from app.web.deps import SessionDep, page_actor

router = APIRouter(prefix="/projects/{project_id}/label/{image_id}/shapes", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Labeler = Annotated[Actor, Depends(page_actor(Action.LABEL))]


def _bounded(given: Any) -> Any:
    """Count before each shape is looked at, so that a million of them is refused at once and with words."""
    if isinstance(given, list) and len(given) > MAX_SHAPES:
        sentence = "An image carries at most {most} shapes; these are {n}."
        raise PydanticCustomError("too_many", sentence, {"most": f"{MAX_SHAPES:,}", "n": f"{len(given):,}"})
    return given


class ShapesBody(BaseModel):
    """All shapes of an image, and the version that they were drawn on."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=0, le=2**31 - 1)
    shapes: Annotated[list[AnnotationValue], BeforeValidator(_bounded)]
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
