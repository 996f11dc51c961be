"""Where the upload element of the Data screen sends its files."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response

from app.accounts.permissions import Action, Actor
from app.core.errors import Invalid
from app.images import uploading
from app.images.forms import files_of, flag_of, texts_of, upload_form
from app.images.labels import Extras
from app.images.schemas import FileResult
from app.web.deps import page_actor
from app.web.problems import wants_json

router = APIRouter(include_in_schema=False)


@router.post("/projects/{project_id}/images", name="images.upload")
async def upload(
    request: Request, actor: Annotated[Actor, Depends(page_actor(Action.UPLOAD))], project_id: int
) -> Response:
    """Take the files in and say what became of each, in their order. A zip counts as the files that it holds.

    Without JavaScript the browser goes back to the Data screen, where the images are.
    """
    await run_in_threadpool(uploading.check_may_upload, actor, project_id)
    async with upload_form(request) as form:
        given = files_of(form, "files")
        if not given:
            raise Invalid("Choose at least one file.")
        paths = [*texts_of(form, "paths"), *[""] * len(given)]  # a sender that names no folders sends none
        named = [(path or name, file) for (name, file), path in zip(given, paths, strict=False)]
        extras = Extras(folders_as_classes=flag_of(form, "folders_as_classes"))
        outcome = await run_in_threadpool(
            uploading.upload, actor=actor, project_id=project_id, files=named, extras=extras
        )
    if not wants_json(request):
        return RedirectResponse(f"/projects/{project_id}/data", status_code=303)
    body = {"results": [FileResult.of(fate).model_dump() for fate in outcome.fates]}
    return JSONResponse(body | {"counts": outcome.counts} if outcome.n_archives else body)
