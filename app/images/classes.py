"""The classes of a project, managed where they are used: in a dialog of the Data and Label screens."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.core.errors import AppError, Conflict, Invalid
from app.images import queries
from app.projects import service as project_service
from app.projects.palette import CATEGORY_COLORS
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render

router = APIRouter(prefix="/projects/{project_id}/classes", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Editor = Annotated[Actor, Depends(page_actor(Action.EDIT))]
Text = Annotated[str, Form(max_length=10_000)]


@router.get("", name="images.classes")
def list_classes(request: Request, actor: Viewer, session: SessionDep, project_id: int) -> Response:
    """Answer the list of classes with their editors; without htmx, a page of its own."""
    return _list(request, session, actor, project_id)


@router.post("", name="images.add_class")
def add_class(
    request: Request,
    actor: Editor,
    session: SessionDep,
    project_id: int,
    name: Text,
    color: Text = "",
    description: Text = "",
    is_good: Annotated[bool, Form()] = False,
) -> Response:
    def change() -> None:
        project_service.create_category(
            session,
            actor=actor,
            project_id=project_id,
            name=name,
            color=color or None,
            description=description,
            is_good=is_good or None,
        )

    return _changed(request, session, actor, project_id, change_name="", change=change)


@router.post("/{category_id}", name="images.edit_class")
def edit_class(
    request: Request,
    actor: Editor,
    session: SessionDep,
    project_id: int,
    category_id: int,
    name: Text,
    color: Text,
    description: Text = "",
    is_good: Annotated[bool, Form()] = False,
) -> Response:
    def change() -> None:
        project_service.update_category(
            session,
            actor=actor,
            project_id=project_id,
            category_id=category_id,
            name=name,
            color=color,
            description=description,
            is_good=is_good,
        )

    return _changed(request, session, actor, project_id, change_name=str(category_id), change=change)


@router.post("/{category_id}/delete", name="images.delete_class")
def delete_class(request: Request, actor: Editor, session: SessionDep, project_id: int, category_id: int) -> Response:
    """Remove a class that no image carries; where images do, say how many."""

    def change() -> None:
        project_service.delete_category(session, actor=actor, project_id=project_id, category_id=category_id)

    return _changed(request, session, actor, project_id, change_name=str(category_id), change=change)


def _changed(
    request: Request, session: Session, actor: Actor, project_id: int, *, change_name: str, change: Callable[[], None]
) -> Response:
    """Make a change and answer with the list; what was not acceptable is said at the class that it was meant for."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    try:
        with session.begin_nested():
            change()
    except (Conflict, Invalid) as error:
        return _list(request, session, actor, project_id, problem=error, problem_at=change_name)
    if not wants_partial(request):
        return RedirectResponse(str(request.app.url_path_for("images.classes", project_id=project_id)), 303)
    return _list(request, session, actor, project_id, headers={"HX-Trigger": "classes:changed"})


def _list(
    request: Request,
    session: Session,
    actor: Actor,
    project_id: int,
    *,
    problem: AppError | None = None,
    problem_at: str = "",
    headers: dict[str, str] | None = None,
) -> Response:
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    categories = project_service.list_categories(session, project_id)
    used = {category.color for category in categories}
    return render(
        request,
        "partials/images/_classes.html" if wants_partial(request) else "pages/images/classes.html",
        status=problem.status if problem else 200,
        headers=headers,
        nav="data",
        project=project,
        categories=categories,
        counts=queries.count_by_class(session, project_id),
        class_colors=CATEGORY_COLORS,
        next_color=next((color for color in CATEGORY_COLORS if color not in used), CATEGORY_COLORS[0]),
        may_edit=actor.may(Action.EDIT),
        problem=problem.detail if problem else None,
        problem_at=problem_at,
        is_partial=wants_partial(request),
    )
