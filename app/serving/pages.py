"""The Deploy screens: endpoints, their keys and snippets, and Try."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.core.errors import AppError, NotFound, RateLimited, Unavailable
from app.db.tables import Deployment, ModelVersion
from app.projects import service as project_service
from app.registry.service import manifest_of
from app.serving import monitor, predictor, queries, trying
from app.serving import service as serving_service
from app.serving.api import base_url
from app.serving.references import needs_reference, reference_options
from app.serving.schemas import DeploymentCard, ModelChoice, Traffic
from app.serving.snippets import snippets
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render

router = APIRouter(include_in_schema=False)
router.include_router(monitor.router)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Deployer = Annotated[Actor, Depends(page_actor(Action.DEPLOY))]
Trier = Annotated[Actor, Depends(page_actor(Action.PREDICT))]

_BASE = "/projects/{project_id}/deploy"


@router.get(_BASE, name="serving.list")
def list_endpoints(request: Request, actor: Viewer, session: SessionDep, project_id: int) -> Response:
    found = queries.list_with_models(session, project_id)
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    traffic = queries.traffic(session, [deployment.id for deployment, *_ in found])
    cards = [_card(deployment, model, traffic[deployment.id]) for deployment, model, _ in found]
    has_models = bool(cards) or bool(queries.list_model_choices(session, project_id))
    return render(request, "pages/serving/list.html", nav="deploy", project=project, cards=cards, has_models=has_models)


@router.get(f"{_BASE}/new", name="serving.new")
def new_endpoint(
    request: Request,
    actor: Deployer,
    session: SessionDep,
    project_id: int,
    model: str | None = None,
    threshold: float | None = None,
) -> Response:
    """Answer the form, filled in from the address of a model's page."""
    return _new_page(request, session, actor, project_id, model_id=model, threshold=threshold)


@router.get(f"{_BASE}/threshold", name="serving.threshold")
def threshold_field(request: Request, actor: Deployer, session: SessionDep, project_id: int, model: UUID) -> Response:
    """Answer the threshold's field at the model's own threshold: another model, another meaning of scores."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.DEPLOY)
    choice = next((item for item in queries.list_model_choices(session, project_id) if item.id == model), None)
    if choice is None:
        raise NotFound("There is no such model in this project.")
    return render(request, "partials/serving/_threshold.html", value=choice.threshold, own=choice.threshold)


@router.post(_BASE, name="serving.create")
def create_endpoint(
    request: Request,
    actor: Deployer,
    session: SessionDep,
    project_id: int,
    name: Annotated[str, Form(max_length=1000)] = "",
    model: Annotated[str, Form()] = "",
    threshold: Annotated[float | None, Form()] = None,
) -> Response:
    """Make an endpoint and go to its page."""
    try:
        deployment = serving_service.create_deployment(
            session, actor=actor, project_id=project_id, name=name, model_id=_uuid(model), threshold=threshold
        )
    except AppError as error:
        if error.status != 422:
            raise
        return _new_page(
            request, session, actor, project_id, name=name, model_id=model, threshold=threshold, error=error
        )
    _warm(session, deployment)
    return _to_endpoint(project_id, deployment.id)


@router.get(f"{_BASE}/{{deployment_id}}", name="serving.show")
def show_endpoint(
    request: Request, actor: Viewer, session: SessionDep, project_id: int, deployment_id: UUID
) -> Response:
    return _endpoint_page(request, session, actor, project_id, deployment_id)


@router.post(f"{_BASE}/{{deployment_id}}/change", name="serving.change")
def change_endpoint(
    request: Request,
    actor: Deployer,
    session: SessionDep,
    project_id: int,
    deployment_id: UUID,
    name: Annotated[str, Form(max_length=1000)],
    model: Annotated[str, Form()],
    threshold: Annotated[float, Form()],
) -> Response:
    """Change name, model and threshold together, as the form shows them."""
    try:
        deployment = serving_service.change_deployment(
            session,
            actor=actor,
            project_id=project_id,
            deployment_id=deployment_id,
            name=name,
            model_id=_uuid(model),
            threshold=threshold,
        )
    except AppError as error:
        if error.status != 422:
            raise
        session.rollback()
        return _endpoint_page(request, session, actor, project_id, deployment_id, error=error)
    _warm(session, deployment)
    return _to_endpoint(project_id, deployment_id)


@router.post(f"{_BASE}/{{deployment_id}}/pause", name="serving.pause")
def pause_endpoint(actor: Deployer, session: SessionDep, project_id: int, deployment_id: UUID) -> Response:
    serving_service.set_active(
        session, actor=actor, project_id=project_id, deployment_id=deployment_id, is_active=False
    )
    return _to_endpoint(project_id, deployment_id)


@router.post(f"{_BASE}/{{deployment_id}}/resume", name="serving.resume")
def resume_endpoint(actor: Deployer, session: SessionDep, project_id: int, deployment_id: UUID) -> Response:
    serving_service.set_active(session, actor=actor, project_id=project_id, deployment_id=deployment_id, is_active=True)
    return _to_endpoint(project_id, deployment_id)


@router.post(f"{_BASE}/{{deployment_id}}/delete", name="serving.delete")
def delete_endpoint(actor: Deployer, session: SessionDep, project_id: int, deployment_id: UUID) -> Response:
    serving_service.delete_deployment(session, actor=actor, project_id=project_id, deployment_id=deployment_id)
    return RedirectResponse(f"/projects/{project_id}/deploy", status_code=303)


@router.post(f"{_BASE}/{{deployment_id}}/keys", name="serving.create_key")
def create_key(
    request: Request,
    actor: Deployer,
    session: SessionDep,
    project_id: int,
    deployment_id: UUID,
    name: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Make a key for this endpoint; the answer shows it, in the snippets too, and nothing ever shows it again."""
    _, key = serving_service.create_endpoint_key(
        session, actor=actor, project_id=project_id, deployment_id=deployment_id, name=name
    )
    return _endpoint_page(request, session, actor, project_id, deployment_id, new_key=key, block="call")


@router.post(f"{_BASE}/{{deployment_id}}/keys/{{key_id}}/revoke", name="serving.revoke_key")
def revoke_key(
    request: Request, actor: Deployer, session: SessionDep, project_id: int, deployment_id: UUID, key_id: UUID
) -> Response:
    serving_service.revoke_endpoint_key(
        session, actor=actor, project_id=project_id, deployment_id=deployment_id, key_id=key_id
    )
    session.flush()
    return _endpoint_page(request, session, actor, project_id, deployment_id, block="call")


@router.post(f"{_BASE}/{{deployment_id}}/try", name="serving.try")
def try_endpoint(
    request: Request,
    actor: Trier,
    project_id: int,
    deployment_id: UUID,
    file: Annotated[UploadFile, File()],
    reference: Annotated[UploadFile | None, File()] = None,
    reference_key: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Predict one picture from the browser. What is wrong with a picture is said where its answer would be."""
    try:
        result = trying.try_picture(
            actor=actor,
            project_id=project_id,
            deployment_id=deployment_id,
            picture=file.file.read(),
            reference=(reference.file.read() or None) if reference else None,
            reference_key=reference_key,
        )
    except AppError as error:
        if error.status not in {413, 415, 422} and not isinstance(error, Unavailable | RateLimited):
            raise
        return render(
            request,
            "partials/serving/_try_problem.html",
            status=error.status,
            headers=error.headers,
            detail=error.detail,
        )
    return render(request, result.template, result=result, common=result.common)


# --- details ---------------------------------------------------------------------------------------------------------


def _new_page(
    request: Request,
    session: Session,
    actor: Actor,
    project_id: int,
    *,
    name: str = "",
    model_id: str | None = None,
    threshold: float | None = None,
    error: AppError | None = None,
) -> Response:
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.DEPLOY)
    choices = queries.list_model_choices(session, project_id)
    chosen = next((choice for choice in choices if str(choice.id) == model_id), choices[0] if choices else None)
    in_range = threshold is not None and 0 <= threshold <= 1
    return render(
        request,
        "pages/serving/new.html",
        status=error.status if error else 200,
        nav="deploy",
        project=project,
        name=name,
        models=_options(choices),
        chosen=chosen,
        threshold=threshold if in_range else chosen.threshold if chosen else 0.5,
        errors=_errors(error),
    )


def _endpoint_page(
    request: Request,
    session: Session,
    actor: Actor,
    project_id: int,
    deployment_id: UUID,
    *,
    new_key: str | None = None,
    error: AppError | None = None,
    block: str | None = None,
) -> Response:
    found = queries.find_with_keys(session, project_id, deployment_id)
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    if found is None:
        raise NotFound("There is no such endpoint.")
    deployment, model, project, keys = found
    choices = queries.list_model_choices(session, project_id)
    manifest = manifest_of(model)
    asks = needs_reference(manifest)
    context: dict[str, Any] = {
        "project": project,
        "deployment": deployment,
        "model": model,
        "keys": keys,
        "new_key": new_key,
        "snippets": snippets(base_url(request), deployment.id, new_key, with_reference=asks),
        "reference_keys": reference_options(manifest),
        "url": serving_service.prediction_url(base_url(request), deployment.id),
        "may_deploy": actor.may(Action.DEPLOY),
    }
    if block is not None and wants_partial(request):
        return render(request, "partials/serving/_call.html", **context)
    return render(
        request,
        "pages/serving/show.html",
        status=error.status if error else 200,
        nav="deploy",
        card=_card(deployment, model, queries.traffic(session, [deployment.id])[deployment.id]),
        models=_options(choices),
        errors=_errors(error),
        **context,
    )


def _card(deployment: Deployment, model: ModelVersion, traffic: Traffic) -> DeploymentCard:
    return DeploymentCard(
        id=deployment.id,
        name=deployment.name,
        is_active=deployment.is_active,
        threshold=deployment.threshold,
        model_id=model.id,
        model_name=model.name,
        traffic=traffic,
    )


def _options(choices: list[ModelChoice]) -> list[tuple[str, str]]:
    return [(str(choice.id), f"{choice.name}, {choice.created_at:%Y-%m-%d %H:%M}") for choice in choices]


def _errors(error: AppError | None) -> dict[str, str]:
    """Return what is wrong by field; what belongs to no field under an empty name."""
    entries = getattr(error, "errors", None)
    if error is None:
        return {}
    return {entry["pointer"].strip("/"): entry["detail"] for entry in entries} if entries else {"": error.detail}


def _uuid(text: str) -> UUID:
    """Return the UUID in a form's field; what is none becomes one that no model has."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)


def _warm(session: Session, deployment: Deployment) -> None:
    model = session.get(ModelVersion, deployment.model_id)
    if model is not None:
        predictor.warm(model.bundle_key)


def _to_endpoint(project_id: int, deployment_id: UUID) -> Response:
    return RedirectResponse(f"/projects/{project_id}/deploy/{deployment_id}", status_code=303)
