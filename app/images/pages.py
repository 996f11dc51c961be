"""The Data screen: grid, filters, the image beside it. What it changes lies in `app.images.changes`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.accounts.permissions import Action, Actor
from app.images import changes, classes, facets, pictures, queries, splitting, undo, views, vocabulary
from app.images.filters import parse_filter
from app.images.views import Links
from app.projects import service as project_service
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render

router = APIRouter(include_in_schema=False)
router.include_router(pictures.router)
router.include_router(changes.router)
router.include_router(undo.router)
router.include_router(classes.router)
router.include_router(splitting.router)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
ImageId = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@router.get("/projects/{project_id}/data", name="images.data")
def data(request: Request, actor: Viewer, session: SessionDep, project_id: int, image: ImageId = None) -> Response:
    """Answer the Data screen; to htmx its changing part alone. The address holds filter, order and open image."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    wanted = parse_filter(request.query_params.multi_items())
    browse = views.load_browse(request, session, project, wanted, image_id=image)
    return render(
        request,
        "pages/images/data.html",
        block="browse" if wants_partial(request) else None,
        nav="data",
        project=project,
        browse=browse,
        upload_url=upload_url(request, project_id),
        **views.permissions(actor),
    )


@router.get("/projects/{project_id}/data/more", name="images.more")
def more(request: Request, actor: Viewer, session: SessionDep, project_id: int, cursor: str) -> Response:
    """Answer the next tiles, and behind them the way to those that follow; without htmx, the screen from there on."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    wanted = parse_filter(request.query_params.multi_items())
    words = vocabulary.load(session, project_id, model_id=wanted.model_id)
    grid = views.load_grid(session, project_id, wanted, words, Links.of(request, project_id), cursor=cursor)
    template = "partials/images/_tiles.html" if wants_partial(request) else "pages/images/more.html"
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return render(
        request, template, nav="data", project=project, grid=grid, back=Links.of(request, project_id).data(wanted)
    )


@router.get("/projects/{project_id}/data/predicted", name="images.predicted")
def predicted(request: Request, actor: Viewer, session: SessionDep, project_id: int) -> Response:
    """Answer the filter by prediction with its counts, which are too slow to wait for with 100,000 images."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    wanted = parse_filter(request.query_params.multi_items())
    words = vocabulary.load(session, project_id, model_id=wanted.model_id)
    counts = queries.count_images(session, project_id, wanted, model=words.model, with_predictions=True)
    found = facets.build(wanted, counts, words)
    return render(
        request,
        "partials/images/_facet.html",
        facet=next((facet for facet in found.facets if facet.key == "predicted"), None),
        links=Links.of(request, project_id),
    )


@router.get("/projects/{project_id}/images/{image_id}", name="images.show")
def show(request: Request, actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> Response:
    """Answer the panel of one image, and put it into the address; without htmx, go to the screen with it open."""
    wanted = parse_filter(request.query_params.multi_items())
    links = Links.of(request, project_id)
    address = links.data(wanted, image_id=image_id)
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    if not wants_partial(request):
        return RedirectResponse(address, status_code=303)
    words = vocabulary.load(session, project_id, model_id=wanted.model_id)
    return render(
        request,
        "partials/images/_detail.html",
        headers={"HX-Replace-Url": address},
        project=project,
        wanted=wanted,
        words=words,
        links=links,
        detail=views.load_detail(session, project_id, image_id, words, links),
        **views.permissions(actor),
    )


def upload_url(request: Request, project_id: int) -> str:
    return str(request.app.url_path_for("images.upload", project_id=project_id))
