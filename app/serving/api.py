"""REST: deployments."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request

from app.accounts.permissions import Action, Actor
from app.serving import service as serving_service
from app.serving.schemas import DeploymentChange, DeploymentIn, deployment_out
from app.settings import get_settings
from app.web.deps import SessionDep, api_actor
from app.web.openapi import PROBLEMS

router = APIRouter(prefix="/v1/projects/{project_id}/deployments", tags=["serving"], responses=PROBLEMS)

Viewer = Annotated[Actor, Depends(api_actor(Action.VIEW))]
Deployer = Annotated[Actor, Depends(api_actor(Action.DEPLOY))]


def base_url(request: Request) -> str:
    """Return the address under which programs reach this installation, without a slash at its end."""
    return (get_settings().public_url or str(request.base_url)).rstrip("/")


@router.get("", name="v1.deployments.list")
def list_deployments(request: Request, actor: Viewer, session: SessionDep, project_id: int) -> dict[str, Any]:
    """List the endpoints of a project, oldest first."""
    _, deployments = serving_service.list_deployments(session, actor=actor, project_id=project_id)
    return {"data": [deployment_out(deployment, base_url(request)) for deployment in deployments]}


@router.post("", name="v1.deployments.create", status_code=201)
def create_deployment(
    request: Request, actor: Deployer, session: SessionDep, project_id: int, body: DeploymentIn
) -> dict[str, Any]:
    """Make an endpoint that serves a model at once; without a threshold it takes the model's own."""
    deployment = serving_service.create_deployment(
        session,
        actor=actor,
        project_id=project_id,
        name=body.name,
        model_id=body.model_id,
        threshold=body.threshold,
    )
    return {"data": deployment_out(deployment, base_url(request))}


@router.get("/{deployment_id}", name="v1.deployments.show")
def show_deployment(
    request: Request, actor: Viewer, session: SessionDep, project_id: int, deployment_id: UUID
) -> dict[str, Any]:
    """Return one endpoint."""
    deployment = serving_service.get_deployment(
        session, actor=actor, project_id=project_id, deployment_id=deployment_id
    )
    return {"data": deployment_out(deployment, base_url(request))}


@router.put("/{deployment_id}", name="v1.deployments.change")
def change_deployment(
    request: Request,
    actor: Deployer,
    session: SessionDep,
    project_id: int,
    deployment_id: UUID,
    body: DeploymentChange,
) -> dict[str, Any]:
    """Change the model, the threshold or both; a new model without a threshold brings its own."""
    deployment = serving_service.change_deployment(
        session,
        actor=actor,
        project_id=project_id,
        deployment_id=deployment_id,
        name=body.name,
        model_id=body.model_id,
        threshold=body.threshold,
    )
    return {"data": deployment_out(deployment, base_url(request))}


@router.delete("/{deployment_id}", name="v1.deployments.delete")
def delete_deployment(actor: Deployer, session: SessionDep, project_id: int, deployment_id: UUID) -> dict[str, Any]:
    """End an endpoint for good, and revoke its keys. The history of its calls stays."""
    serving_service.delete_deployment(session, actor=actor, project_id=project_id, deployment_id=deployment_id)
    return {"data": {"id": str(deployment_id)}}
