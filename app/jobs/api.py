"""REST: training and its status."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Response

from app import catalog
from app.accounts.permissions import Action, Actor
from app.contracts.tasks import TaskType
from app.jobs import queries
from app.jobs import service as job_service
from app.jobs.wire import TrainItem, training_out, training_status_out
from app.projects import service as project_service
from app.web.deps import SessionDep, api_actor
from app.web.openapi import PROBLEMS

router = APIRouter(prefix="/v1/projects/{project_id}/train", tags=["train"], responses=PROBLEMS)

Viewer = Annotated[Actor, Depends(api_actor(Action.VIEW))]
Trainer = Annotated[Actor, Depends(api_actor(Action.TRAIN))]
Deleter = Annotated[Actor, Depends(api_actor(Action.DELETE))]


@router.post("", name="v1.train.start")
def start_training(
    actor: Trainer, session: SessionDep, project_id: int, body: Annotated[TrainItem | None, Body()] = None
) -> dict[str, Any]:
    """Freeze the labelled images and queue a training on them. No body, or `null`, is the one-click training.

    `notes` says which wishes of the body this kind of training has no use for.
    """
    spec, notes = (body or TrainItem()).to_spec()
    job = job_service.start_training(session, actor=actor, project_id=project_id, spec=spec)
    return {"data": {"trainingId": str(job.id), "notes": notes}}


@router.get("", name="v1.train.list")
def list_trainings(actor: Viewer, session: SessionDep, project_id: int) -> dict[str, Any]:
    """List the project's trainings, the newest first."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return {"data": [training_out(job) for job in queries.list_jobs(session, project_id, limit=1000)]}


@router.get("/architectures", name="v1.train.architectures")
def list_architectures(actor: Viewer, session: SessionDep, project_id: int) -> dict[str, Any]:
    """List the backbones that can be trained with in this project; `auto` compares them by cross-validation."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    cards = [
        {"name": card.id, "title": card.name, "licence": card.licence, "goodAt": card.good_at}
        for card in catalog.BACKBONES.values()
        if TaskType(project.task) in card.tasks and not card.is_for_tests
    ]
    return {"data": [{"name": "auto", "title": "Automatic"}, *cards]}


@router.get("/{training_id}/status", name="v1.train.status")
def training_status(actor: Viewer, session: SessionDep, project_id: int, training_id: UUID) -> dict[str, Any]:
    """Say how far a training is."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return {"data": training_status_out(queries.get_job(session, project_id, training_id))}


@router.post("/{training_id}/cancel", name="v1.train.cancel")
def cancel_training(actor: Trainer, session: SessionDep, project_id: int, training_id: UUID) -> dict[str, Any]:
    """Ask a training to stop; it stops at its next step. One that has ended answers 409."""
    job_service.request_cancel(session, actor=actor, project_id=project_id, job_id=training_id)
    return {"data": training_status_out(queries.get_job(session, project_id, training_id))}


@router.delete("/{training_id}", name="v1.train.delete", status_code=204)
def delete_training(actor: Deleter, session: SessionDep, project_id: int, training_id: UUID) -> Response:
    """Remove an ended training and its log. One that is under way, or whose model exists, answers 409."""
    job_service.delete_job(session, actor=actor, project_id=project_id, job_id=training_id)
    return Response(status_code=204)
