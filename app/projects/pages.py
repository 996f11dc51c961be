"""The list of projects and their settings, for people."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from app.accounts.permissions import Action, Actor
from app.contracts.tasks import TaskType
from app.core.errors import AppError
from app.db.tables import ProjectMember, User
from app.projects import queries
from app.projects import service as project_service
from app.web.deps import SessionDep, page_actor
from app.web.rendering import render

router = APIRouter(prefix="/projects", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Maker = Annotated[Actor, Depends(page_actor(Action.CREATE_PROJECT))]
Editor = Annotated[Actor, Depends(page_actor(Action.EDIT))]


@router.get("", name="projects.list")
def list_projects(request: Request, actor: Viewer, session: SessionDep) -> Response:
    cards = queries.list_cards(session, actor=actor)
    return render(request, "pages/projects/list.html", nav="projects", cards=cards)


@router.get("/menu", name="projects.menu")
def menu(request: Request, actor: Viewer, session: SessionDep, current: int | None = None) -> Response:
    """Answer the list inside the project switcher, loaded when it opens."""
    projects = project_service.list_projects(session, actor=actor)
    return render(request, "partials/projects/_menu.html", projects=projects, current=current)


@router.get("/new", name="projects.new", dependencies=[Depends(page_actor(Action.CREATE_PROJECT))])
def new_project(request: Request) -> Response:
    return _new_page(request)


@router.post("", name="projects.create")
def create_project(
    request: Request,
    actor: Maker,
    session: SessionDep,
    name: Annotated[str, Form(max_length=1000)],
    task: Annotated[TaskType, Form()] = TaskType.CLASSIFICATION,
) -> Response:
    """Create a project and go where its images are dropped."""
    try:
        project = project_service.create_project(session, actor=actor, name=name, task=task)
    except AppError as error:
        return _new_page(request, name=name, task=task, error=error)
    return RedirectResponse(f"/projects/{project.id}/data", status_code=303)


@router.get("/{project_id}", name="projects.show", dependencies=[Depends(page_actor(Action.VIEW))])
def show_project(project_id: int) -> Response:
    return RedirectResponse(f"/projects/{project_id}/data", status_code=303)


@router.get("/{project_id}/settings", name="projects.settings")
def project_settings(request: Request, actor: Viewer, session: SessionDep, project_id: int) -> Response:
    return _settings_page(request, actor, session, project_id)


@router.post("/{project_id}/settings", name="projects.rename")
def rename_project(
    request: Request, actor: Editor, session: SessionDep, project_id: int, name: Annotated[str, Form(max_length=1000)]
) -> Response:
    try:
        project_service.rename_project(session, actor=actor, project_id=project_id, name=name)
    except AppError as error:
        if error.status != 422:
            raise
        return _settings_page(request, actor, session, project_id, error=error)
    return RedirectResponse(f"/projects/{project_id}/settings", status_code=303)


@router.post("/{project_id}/access", name="projects.set_access")
def set_access(
    actor: Annotated[Actor, Depends(page_actor(Action.DELETE_PROJECT))],
    session: SessionDep,
    project_id: int,
    is_invite_only: Annotated[bool, Form()] = False,
    user_ids: Annotated[list[int] | None, Form()] = None,
) -> Response:
    """Open the project to everybody, or close it to all but the named."""
    project_service.set_invite_only(
        session, actor=actor, project_id=project_id, user_ids=(user_ids or []) if is_invite_only else None
    )
    return RedirectResponse(f"/projects/{project_id}/settings", status_code=303)


@router.post("/{project_id}/delete", name="projects.delete")
def delete_project(actor: Maker, session: SessionDep, project_id: int) -> Response:
    project_service.delete_project(session, actor=actor, project_id=project_id)
    return RedirectResponse("/projects", status_code=303)


def _new_page(
    request: Request, *, name: str = "", task: TaskType = TaskType.CLASSIFICATION, error: AppError | None = None
) -> Response:
    return render(
        request,
        "pages/projects/new.html",
        status=error.status if error else 200,
        nav="projects",
        name=name,
        task=task,
        tasks=[(one, one in project_service.SUPPORTED_TASKS) for one in TaskType],
        problem=error.detail if error else None,
    )


def _settings_page(
    request: Request,
    actor: Actor,
    session: SessionDep,
    project_id: int,
    *,
    error: AppError | None = None,
) -> Response:
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    members = set(session.scalars(select(ProjectMember.user_id).where(ProjectMember.project_id == project_id)))
    people = list(session.scalars(select(User).where(User.is_active).order_by(User.name)))
    may_delete = actor.may(Action.DELETE_PROJECT) or (
        project.created_by_id == actor.user_id and actor.may(Action.CREATE_PROJECT)
    )
    return render(
        request,
        "pages/projects/settings.html",
        status=error.status if error else 200,
        project=project,
        people=people,
        members=members,
        may_delete=may_delete,
        problem=error.detail if error else None,
    )
