"""Where the upload element of the Data screen sends its files."""

from typing import Annotated, BinaryIO, cast

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, RedirectResponse, Response

from app.accounts.permissions import Action, Actor
from app.images import uploading
from app.images.adding import Extras
from app.images.schemas import FileResult
from app.web.deps import page_actor
from app.web.problems import wants_json

router = APIRouter(include_in_schema=False)


@router.post("/projects/{project_id}/images", name="images.upload")
def upload(
    request: Request,
    actor: Annotated[Actor, Depends(page_actor(Action.UPLOAD))],
    project_id: int,
    files: Annotated[list[UploadFile], File()],
    paths: Annotated[list[str] | None, Form()] = None,
    folders_as_classes: Annotated[bool, Form()] = False,
) -> Response:
    """Take the files in and say what became of each, in their order. A zip counts as the files that it holds.

    Without JavaScript the browser goes back to the Data screen, where the images are.
    """
    given = [
        (path or upload_file.filename or "", cast("BinaryIO", upload_file.file))
        for upload_file, path in zip(files, _padded(paths, len(files)), strict=True)
        if upload_file.filename or upload_file.size
    ]
    outcome = uploading.upload(
        actor=actor, project_id=project_id, files=given, extras=Extras(folders_as_classes=folders_as_classes)
    )
    if not wants_json(request):
        return RedirectResponse(f"/projects/{project_id}/data", status_code=303)
    body = {"results": [FileResult.of(fate).model_dump(by_alias=False) for fate in outcome.fates]}
    return JSONResponse(body | {"counts": outcome.counts} if outcome.n_archives else body)


def _padded(paths: list[str] | None, length: int) -> list[str]:
    """Return one path for each file; a sender that names no folders sends none."""
    return [*(paths or []), *[""] * length][:length]
