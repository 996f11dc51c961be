"""REST: what the images of a project are compared with."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.projects import service as project_service
from app.references import attaching, queries, rules
from app.references import service as reference_service
from app.references.schemas import MarkIn, RuleIn, pairing_out
from app.web.deps import SessionDep, api_actor
from app.web.openapi import PROBLEMS

router = APIRouter(prefix="/v1/projects/{project_id}/references", tags=["references"], responses=PROBLEMS)

Viewer = Annotated[Actor, Depends(api_actor(Action.VIEW))]
Editor = Annotated[Actor, Depends(api_actor(Action.EDIT))]


@router.get("", name="v1.references.show")
def show_references(actor: Viewer, session: SessionDep, project_id: int) -> dict[str, Any]:
    """Return the rule of a project, its reference images, and how many images go with one."""
    return _answer(session, actor, project_id)


@router.put("/rule", name="v1.references.set_rule")
def set_rule(actor: Editor, session: SessionDep, project_id: int, body: RuleIn) -> dict[str, Any]:
    """Say which reference an image is compared with: one for all, by name, by a metadata field, or none."""
    reference_service.set_rule(session, actor=actor, project_id=project_id, rule=body.rule())
    return _answer(session, actor, project_id)


@router.post("", name="v1.references.mark")
def mark_references(actor: Editor, session: SessionDep, project_id: int, body: MarkIn) -> dict[str, Any]:
    """Make images references: they are no longer labelled, counted or learned from."""
    reference_service.mark(session, actor=actor, project_id=project_id, selection=body.media_ids)
    return _answer(session, actor, project_id)


@router.delete("", name="v1.references.unmark")
def unmark_references(
    actor: Editor,
    session: SessionDep,
    project_id: int,
    ids: Annotated[list[int], Query(alias="id", min_length=1, max_length=1000)],
) -> dict[str, Any]:
    """Make references images again, by repeated `id`; with the labels that they had."""
    reference_service.unmark(session, actor=actor, project_id=project_id, image_ids=ids)
    return _answer(session, actor, project_id)


def _answer(session: Session, actor: Actor, project_id: int) -> dict[str, Any]:
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    marked = queries.list_marked(session, project_id, rules.of(project))
    return {"data": pairing_out(marked, attaching.find_pairing(session, project))}
