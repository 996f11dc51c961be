"""The screen of visual prompting, and what its editor reads and saves."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations import service as annotation_service
from app.annotations.classes import try_add_class
from app.annotations.prompting import masks as mask_service
from app.annotations.prompting import models as model_service
from app.annotations.prompting import runs, views
from app.annotations.prompting import strokes as stroke_service
from app.annotations.prompting.strokes import get_project
from app.contracts.strokes import Stroke, bounded
from app.db.tables import Project
from app.images.views import Links, permissions
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render

router = APIRouter(prefix="/projects/{project_id}/prompt", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Labeler = Annotated[Actor, Depends(page_actor(Action.LABEL))]
Editor = Annotated[Actor, Depends(page_actor(Action.EDIT))]
Trainer = Annotated[Actor, Depends(page_actor(Action.TRAIN))]
OptionalId = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


class StrokesBody(BaseModel):
    """All strokes of an image, and the version that they were painted on."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=0, le=2**31 - 1)
    strokes: Annotated[tuple[Stroke, ...], BeforeValidator(bounded)]


@router.get("", name="prompting.show")
def show(request: Request, actor: Viewer, session: SessionDep, project_id: int, image: OptionalId = None) -> Response:
    """Answer the screen for an image; where none is named, for the first one."""
    project = get_project(session, actor=actor, project_id=project_id, action=Action.VIEW)
    screen = views.load_screen(request, session, project, image)
    if screen is None:
        return render(
            request,
            "pages/annotations/nothing.html",
            nav="label",
            project=project,
            data_url=f"{Links.of(request, project_id).project}/data",
            has_images=False,
            may_upload=actor.may(Action.UPLOAD),
        )
    return render(
        request,
        "partials/prompting/_stage.html" if wants_partial(request) else "pages/prompting/prompt.html",
        nav="label",
        project=project,
        screen=screen,
        may_train=actor.may(Action.TRAIN),
        **permissions(actor),
    )


@router.get("/masks", name="prompting.results")
def results(
    request: Request,
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    skip: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """Answer a page of images with their masks."""
    project = get_project(session, actor=actor, project_id=project_id, action=Action.VIEW)
    found = views.load_results(request, session, project, skip=skip)
    return render(request, "partials/prompting/_tiles.html", project=project, results=found)


@router.get("/run", name="prompting.run_state")
def run_state(request: Request, actor: Viewer, session: SessionDep, project_id: int) -> Response:
    """Answer how far the run is; it asks for itself while it can change, and says when it has ended."""
    get_project(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return _state(request, session, actor, project_id)


@router.post("/run", name="prompting.run")
def run(request: Request, actor: Labeler, session: SessionDep, project_id: int) -> Response:
    """Ask for masks from all strokes of the project."""
    runs.start_run(session, actor=actor, project_id=project_id)
    if not wants_partial(request):
        return RedirectResponse(f"{Links.of(request, project_id).project}/prompt", status_code=303)
    return _state(request, session, actor, project_id)


@router.post("/use", name="prompting.use")
def use(
    request: Request,
    actor: Labeler,
    session: SessionDep,
    project_id: int,
    nothing_elsewhere: Annotated[bool, Form()] = False,
) -> Response:
    """Make labels of the masks of all images without labels, and offer to undo it."""
    n_images, event_id = mask_service.use_as_labels(
        session, actor=actor, project_id=project_id, nothing_elsewhere=nothing_elsewhere
    )
    return _after_change(request, session, actor, project_id, undo=(n_images, event_id))


@router.post("/undo", name="prompting.undo")
def undo(
    request: Request,
    actor: Labeler,
    session: SessionDep,
    project_id: int,
    change: Annotated[int, Form(ge=1, le=2**31 - 1)],
) -> Response:
    """Take the labels back that `use` made, where nobody changed them since."""
    get_project(session, actor=actor, project_id=project_id, action=Action.LABEL)
    annotation_service.undo_bulk(session, actor=actor, project_id=project_id, event_id=change)
    return _after_change(request, session, actor, project_id)


@router.post("/model", name="prompting.model")
def make_model(request: Request, actor: Trainer, session: SessionDep, project_id: int) -> Response:
    """Queue a training on the strokes, and go to where it runs."""
    job = model_service.start_training(session, actor=actor, project_id=project_id)
    url = f"{Links.of(request, project_id).project}/train#job-{job.id}"
    if wants_partial(request):
        return Response(status_code=204, headers={"HX-Redirect": url})
    return RedirectResponse(url, status_code=303)


@router.post("/classes", name="prompting.add_class")
def add_class(
    request: Request,
    actor: Editor,
    session: SessionDep,
    project_id: int,
    name: Annotated[str, Form(max_length=10_000)],
    image: Annotated[int, Query(ge=1, le=2**31 - 1)],
) -> Response:
    """Add a class without leaving the image; answer with the image, where the class stands last in the list."""
    project = get_project(session, actor=actor, project_id=project_id, action=Action.EDIT)
    problem = try_add_class(request, session, project, name)
    if not wants_partial(request):
        url = f"{Links.of(request, project_id).project}/prompt?image={image}"
        return RedirectResponse(url, status_code=303)
    return _stage(request, session, actor, project, image, class_problem=problem)


@router.get("/{image_id}/strokes", name="prompting.strokes")
def get_strokes(actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> JSONResponse:
    """Answer the strokes of an image, with the version to name when they are saved."""
    found = stroke_service.get_strokes(session, actor=actor, project_id=project_id, image_id=image_id)
    return JSONResponse(found.as_json())


@router.put("/{image_id}/strokes", name="prompting.set_strokes")
def set_strokes(actor: Labeler, session: SessionDep, project_id: int, image_id: int, body: StrokesBody) -> JSONResponse:
    """Save all strokes of an image; where somebody was faster, answer 409 with theirs as `current`."""
    saved = stroke_service.set_strokes(
        session,
        actor=actor,
        project_id=project_id,
        image_id=image_id,
        strokes=body.strokes,
        expected_version=body.version,
    )
    return JSONResponse({"version": saved.version})


@router.get("/{image_id}/masks", name="prompting.masks")
def masks(request: Request, actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> Response:
    """Answer what the last run found on an image, to lie over it."""
    project = get_project(session, actor=actor, project_id=project_id, action=Action.VIEW)
    found = views.load_overlay(session, project, image_id)
    return render(request, "partials/prompting/_found.html", found=found)


def _state(
    request: Request,
    session: Session,
    actor: Actor,
    project_id: int,
    *,
    undo: tuple[int, int | None] | None = None,
    status: int = 200,
) -> Response:
    state = runs.load_state(session, project_id)
    return render(
        request,
        "partials/prompting/_run.html",
        status=status,
        # What is open elsewhere on the page is brought up to date: the grid, and the masks on the image.
        headers={} if state.is_active else {"HX-Trigger": "prompt:done"},
        project_id=project_id,
        state=state,
        undo=undo,
        may_label=actor.may(Action.LABEL),
        may_train=actor.may(Action.TRAIN),
    )


def _stage(
    request: Request, session: Session, actor: Actor, project: Project, image_id: int, *, class_problem: str | None
) -> Response:
    screen = views.load_screen(request, session, project, image_id)
    return render(
        request,
        "partials/prompting/_stage.html",
        project=project,
        screen=screen,
        class_problem=class_problem,
        **permissions(actor),
    )


def _after_change(
    request: Request, session: Session, actor: Actor, project_id: int, undo: tuple[int, int | None] | None = None
) -> Response:
    if not wants_partial(request):
        return RedirectResponse(f"{Links.of(request, project_id).project}/prompt", status_code=303)
    return _state(request, session, actor, project_id, undo=undo)
