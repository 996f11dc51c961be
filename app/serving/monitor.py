"""The Monitor screen: the history of calls, its figures, and the way back into the data."""

import io
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from PIL import Image, ImageDraw

from app.accounts.permissions import Action, Actor
from app.contracts.tasks import TaskType
from app.core.errors import AppError, Invalid, NotFound
from app.images import thumbnails
from app.projects import service as project_service
from app.serving import collecting, queries
from app.serving.filters import PERIODS, HistoryFilter
from app.serving.recording import RecordedShape, recorder
from app.storage.current import blobs
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render
from app.web.security import FILE_CSP

router = APIRouter(include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Uploader = Annotated[Actor, Depends(page_actor(Action.UPLOAD))]

_BASE = "/projects/{project_id}/monitor"
_LARGE_SIDE_PX = 1600
_PERIOD_NAMES = {"day": "24 hours", "week": "7 days", "month": "30 days", "all": "All"}


@router.get(_BASE, name="serving.monitor")
def show_history(
    request: Request, actor: Viewer, session: SessionDep, project_id: int, cursor: str | None = None
) -> Response:
    """Answer the page, or with a cursor and from htmx only the lines that follow."""
    found = queries.list_with_models(session, project_id, with_deleted=True)
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    problem = None
    try:
        wanted = HistoryFilter.read(dict(request.query_params))
    except AppError as error:
        wanted, problem = HistoryFilter(), error.detail
    endpoints = {deployment.id: deployment.name for deployment, *_ in found}
    page = queries.history_page(session, endpoints, wanted, cursor=cursor)
    categories = {
        category["name"]: category["is_good"] for _, model, _ in found for category in model.manifest["categories"]
    }
    context: dict[str, Any] = {
        "project": project,
        "has_good": any(categories.values()) or TaskType(project.task).has_shapes,
        "has_shapes": TaskType(project.task).has_shapes,
        "page": page,
        "wanted": wanted,
        "next_query": wanted.query(cursor=page.next_cursor),
        "may_collect": actor.may(Action.UPLOAD),
        "may_label": actor.may(Action.LABEL),
    }
    if cursor is not None and wants_partial(request):
        return render(request, "partials/serving/_call_rows.html", **context)
    return render(
        request,
        "pages/serving/monitor.html",
        status=422 if problem else 200,
        nav="monitor",
        problem=problem,
        deployments=[deployment for deployment, *_ in found],
        categories=list(categories),
        figures=queries.history_figures(session, list(endpoints), wanted),
        periods=[(_PERIOD_NAMES[name], name) for name in (*PERIODS, "all")],
        n_dropped=recorder().n_dropped,
        n_without_picture=recorder().n_without_picture,
        **context,
    )


@router.post(f"{_BASE}/collect", name="serving.collect")
def collect(
    request: Request,
    actor: Uploader,
    project_id: int,
    call_id: Annotated[list[int] | None, Form()] = None,
    with_answers: Annotated[bool, Form()] = False,
) -> Response:
    """Add the pictures of the chosen calls to the project's images, and say what became of each."""
    try:
        collected = collecting.add_to_dataset(
            actor=actor, project_id=project_id, call_ids=call_id or [], with_answers=with_answers
        )
    except Invalid as error:
        if not wants_partial(request):
            raise
        return render(request, "partials/serving/_collect_problem.html", status=422, detail=error.detail)
    is_partial = wants_partial(request)
    return render(
        request,
        "partials/serving/_collected.html" if is_partial else "pages/serving/collected.html",
        nav="monitor",
        project_id=project_id,
        collected=collected,
        is_partial=is_partial,
    )


@router.get(f"{_BASE}/calls/{{call_id}}/picture", name="serving.call_picture")
def call_picture(actor: Viewer, project_id: int, call_id: int, size: str = "small") -> Response:
    """Answer the picture of a call, drawn anew: what a caller sent never reaches a browser as it came.

    On the large one the boxes of what was found are drawn.
    """
    key, shapes = collecting.find_picture(project_id, actor, call_id)
    if key is None:
        raise NotFound("The picture of this call was not kept.")
    path = blobs().local_path(key)
    content = thumbnails.encode(path) if size == "small" else _large(thumbnails.shown(path), shapes)
    return Response(
        content,
        media_type=thumbnails.MEDIA_TYPE,
        headers={
            "Content-Security-Policy": FILE_CSP,
            "Content-Disposition": f'inline; filename="call-{call_id}.webp"',
            "Cache-Control": "private, max-age=31536000, immutable",
        },
    )


def _large(picture: Image.Image, shapes: Sequence[RecordedShape]) -> bytes:
    width_px = picture.width
    picture = picture.convert("RGB")
    picture.thumbnail((_LARGE_SIDE_PX, _LARGE_SIDE_PX))
    pen, scale, line = ImageDraw.Draw(picture), picture.width / width_px, max(2, round(max(picture.size) / 400))
    for shape in shapes:
        box = [scale * value for value in (shape.box.xmin, shape.box.ymin, shape.box.xmax, shape.box.ymax)]
        pen.rectangle(box, outline="#1a1d21", width=line + 2)
        pen.rectangle(box, outline=shape.color, width=line)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=90, method=2)
    return out.getvalue()
