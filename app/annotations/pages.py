"""The Label screen: one image as large as it can be, its class a key press away."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.accounts.permissions import Action, Actor
from app.annotations import drafts as draft_service
from app.annotations import service as annotation_service
from app.annotations import views
from app.annotations.classes import try_add_class
from app.core.errors import Invalid, StaleVersion
from app.images import queries
from app.images.filters import parse_filter
from app.images.views import Links, permissions
from app.projects import service as project_service
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render

router = APIRouter(prefix="/projects/{project_id}/label", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Labeler = Annotated[Actor, Depends(page_actor(Action.LABEL))]
Editor = Annotated[Actor, Depends(page_actor(Action.EDIT))]
OptionalId = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@router.get("", name="annotations.label")
def label(request: Request, actor: Viewer, session: SessionDep, project_id: int, image: OptionalId = None) -> Response:
    """Answer the screen for an image; where none is named, go to the first that wants a class.

    The address holds the queue: the filter and order of the Data screen, and the moment from which on labelled images
    stay in it.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    wanted = parse_filter(request.query_params.multi_items())
    words = views.load_words(session, project_id, wanted)
    if image is None:
        found = views.first_image(session, project_id, wanted, words)
        links = Links.of(request, project_id)
        if found is not None:
            return RedirectResponse(links.label(*found), status_code=303)
        return render(
            request,
            "pages/annotations/nothing.html",
            nav="label",
            project=project,
            data_url=links.data(wanted),
            has_images=bool(words.n_images),
            may_upload=actor.may(Action.UPLOAD),
        )
    screen = views.load_screen(request, session, project, wanted, words, image)
    is_partial = wants_partial(request)
    return render(
        request,
        "partials/annotations/_screen.html" if is_partial else "pages/annotations/label.html",
        nav="label",
        project=project,
        screen=screen,
        is_partial=is_partial,
        **permissions(actor),
    )


@router.post("", name="annotations.set_class")
def set_class(
    request: Request,
    actor: Labeler,
    session: SessionDep,
    project_id: int,
    image_id: Annotated[int, Form(ge=1, le=2**31 - 1)],
    version: Annotated[int, Form(ge=0, le=2**31 - 1)],
    category_id: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Save the class of an image at once; where somebody was faster, offer both and overwrite nothing."""
    if category_id and not (category_id.isascii() and category_id.isdigit()):
        raise Invalid("Choose one of the classes.")
    chosen = int(category_id) if category_id else None
    wanted = parse_filter(request.query_params.multi_items())
    links = Links.of(request, project_id)
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    try:
        saved = annotation_service.set_class(
            session,
            actor=actor,
            project_id=project_id,
            image_id=image_id,
            category_id=chosen,
            expected_version=version,
        )
    except StaleVersion as error:
        if not wants_partial(request):
            raise
        words = views.load_words(session, project_id, wanted)
        return render(
            request,
            "partials/annotations/_conflict.html",
            status=409,
            current=error.extra["current"],
            theirs=words.find_class(error.extra["current"]["category_id"]),
            mine=words.find_class(chosen),
        )
    if not wants_partial(request):
        return RedirectResponse(links.label(wanted, image_id), status_code=303)
    words = views.load_words(session, project_id, wanted)
    image = queries.get_image(session, project_id, image_id, model=words.model)
    return render(
        request,
        "partials/annotations/_saved.html",
        project=project,
        version=saved.version,
        words=words,
        n_labelled=views.count_labelled(session, project, words),
        entry=views.strip_entry(image, words, links, wanted, is_current=True),
    )


@router.get("/{image_id}/summary", name="annotations.summary")
def summary(request: Request, actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> Response:
    """Answer what of the screen shows, besides the shapes themselves, that an image is labelled."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    wanted = parse_filter(request.query_params.multi_items())
    words = views.load_words(session, project_id, wanted)
    image = queries.get_image(session, project_id, image_id, model=words.model)
    entry = views.strip_entry(image, words, Links.of(request, project_id), wanted, is_current=True)
    return render(
        request,
        "partials/annotations/_summary.html",
        project=project,
        n_labelled=views.count_labelled(session, project, words),
        n_images=words.n_images,
        entry=entry,
    )


@router.get("/{image_id}/drafts", name="annotations.drafts")
def drafts(actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> JSONResponse:
    """Answer what the newest model found on an image, for the editor to show and to take over."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    queries.get_image(session, project_id, image_id, model=None)
    return JSONResponse(draft_service.load_drafts(session, project_id=project_id, image_id=image_id))


@router.post("/classes", name="annotations.add_class")
def add_class(
    request: Request,
    actor: Editor,
    session: SessionDep,
    project_id: int,
    name: Annotated[str, Form(max_length=10_000)],
    image: Annotated[int, Query(ge=1, le=2**31 - 1)],
) -> Response:
    """Add a class without leaving the image; answer with the screen, where it stands last in the list."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    wanted = parse_filter(request.query_params.multi_items())
    problem = try_add_class(request, session, project, name)
    if not wants_partial(request):
        return RedirectResponse(Links.of(request, project_id).label(wanted, image), status_code=303)
    words = views.load_words(session, project_id, wanted)
    return render(
        request,
        "partials/annotations/_screen.html",
        project=project,
        screen=views.load_screen(request, session, project, wanted, words, image),
        is_partial=True,
        class_problem=problem,
        **permissions(actor),
    )
