"""The reference images that a model carries, as files: they stay what they were, whatever becomes of the project's."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response

from app.accounts.permissions import Action, Actor
from app.contracts.reference import reference_file
from app.core.errors import NotFound
from app.db.session import new_session
from app.images.files import file_response
from app.registry import service as registry_service
from app.storage.current import blobs
from app.web.deps import page_actor

router = APIRouter(prefix="/projects/{project_id}/models/{model_id}/references", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]


@router.get("/{sha256}", name="references.of_model")
def of_model(
    actor: Viewer,
    project_id: int,
    model_id: UUID,
    sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
) -> Response:
    """Answer a reference image from the bundle of a model."""
    # The session is closed before the file is read: a slow reader must not hold a connection.
    with new_session() as session:
        _, model = registry_service.get_for(session, actor=actor, project_id=project_id, model_id=model_id)
        bundled = registry_service.manifest_of(model).reference
        key = f"{model.bundle_key}/{reference_file(sha256)}"
    if bundled is None or sha256 not in bundled.pictures.values():
        raise NotFound("This model has no such reference image.")
    return file_response(blobs().open(key), media_type="image/png", name=reference_file(sha256), etag=sha256)
