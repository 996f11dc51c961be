"""Picture files for the screens: thumbnail, the file as it came, and what a browser can show of it."""

from collections.abc import Callable
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Request, Response

from app.accounts.permissions import Action, Actor
from app.core.pictures import MEDIA_TYPES
from app.db.session import new_session
from app.db.tables import Image
from app.images import service as image_service
from app.images import thumbnails
from app.images.files import CACHE_FOREVER, file_response
from app.storage.current import blobs
from app.web.deps import page_actor

router = APIRouter(prefix="/projects/{project_id}/images/{image_id}", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]


@router.get("/thumb", name="images.thumb")
def thumb(request: Request, actor: Viewer, project_id: int, image_id: int) -> Response:
    """Answer a small picture, made now where no worker has made it yet."""

    def open_file(image: Image) -> tuple[BinaryIO, str]:
        return thumbnails.open_thumbnail(image), thumbnails.MEDIA_TYPE

    return _answer(request, _image(actor, project_id, image_id), "thumb", open_file)


@router.get("/view", name="images.view")
def view(request: Request, actor: Viewer, project_id: int, image_id: int) -> Response:
    """Answer the picture at its full size in a format that every browser shows."""
    return _answer(request, _image(actor, project_id, image_id), "view", thumbnails.open_display)


@router.get("/file", name="images.file")
def original(request: Request, actor: Viewer, project_id: int, image_id: int) -> Response:
    """Answer the file byte for byte as it was uploaded."""

    def open_file(image: Image) -> tuple[BinaryIO, str]:
        return blobs().open(image.blob_key), MEDIA_TYPES[image.format]  # type: ignore[index]

    return _answer(request, _image(actor, project_id, image_id), "file", open_file)


def _image(actor: Actor, project_id: int, image_id: int) -> Image:
    # The session is closed before the file is read: a slow reader must not hold a connection.
    with new_session() as session:
        return image_service.get_image(
            session, actor=actor, project_id=project_id, image_id=image_id, action=Action.VIEW
        )


def _answer(request: Request, image: Image, kind: str, open_file: Callable[[Image], tuple[BinaryIO, str]]) -> Response:
    """Answer a file whose address always means the same bytes."""
    etag = f"{image.sha256[:32]}-{kind}"
    if f'"{etag}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": f'"{etag}"', "Cache-Control": CACHE_FOREVER})
    file, media_type = open_file(image)
    return file_response(file, media_type=media_type, name=image.name, etag=etag)
