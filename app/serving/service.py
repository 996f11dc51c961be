"""Deployments: names that programs call, each pointing at a model with a threshold. Nothing here commits."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import service as account_service
from app.accounts.permissions import Action, Actor, Role
from app.accounts.service import record
from app.core.clock import utc_now
from app.core.errors import Conflict, Invalid, NotFound
from app.db.session import on_commit
from app.db.tables import ApiKey, Deployment, ModelVersion, Project
from app.projects import service as project_service
from app.serving import access

MAX_NAME_LENGTH = 80


class EndpointPaused(Conflict):
    """The endpoint exists but a person switched it off."""

    code, title = "endpoint_paused", "Endpoint paused"


def list_deployments(session: Session, *, actor: Actor, project_id: int) -> tuple[Project, list[Deployment]]:
    """Return a project and its deployments, oldest first, in one statement where there are any.

    Raises:
        NotFound: No such project, or the actor may not see it.
        PermissionDenied: The actor may not see deployments.
    """
    rows = session.scalars(
        select(Deployment)
        .join(Project, Project.id == Deployment.project_id)
        .where(Deployment.project_id == project_id, Deployment.deleted_at.is_(None))
        .order_by(Deployment.created_at, Deployment.id)
    )
    deployments = list(rows)
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return project, deployments


def get_deployment(
    session: Session, *, actor: Actor, project_id: int, deployment_id: UUID, action: Action = Action.VIEW
) -> Deployment:
    """Return a deployment of a project that the actor may see and do `action` in.

    Raises:
        NotFound: No such project or deployment, or the actor may not see it.
        PermissionDenied: The actor may see it, but not do this.
    """
    project_service.get_for(session, actor=actor, project_id=project_id, action=action)
    deployment = session.get(Deployment, deployment_id)
    if deployment is None or deployment.project_id != project_id or deployment.deleted_at is not None:
        raise NotFound("There is no such endpoint.")
    return deployment


def create_deployment(
    session: Session, *, actor: Actor, project_id: int, name: str, model_id: UUID, threshold: float | None = None
) -> Deployment:
    """Make an endpoint that serves a model at once.

    Args:
        threshold: In [0, 1]; None takes the model's own.

    Raises:
        NotFound: No such project, or the actor may not see it.
        PermissionDenied: The actor may not deploy.
        Invalid: The name is empty or too long, the threshold is out of range, or the project has no such model.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.DEPLOY)
    model = _get_model(session, project_id, model_id)
    deployment = Deployment(
        project_id=project_id,
        name=_checked_name(name),
        model_id=model.id,
        threshold=model.threshold if threshold is None else _checked_threshold(threshold),
        created_by_id=actor.user_id,
    )
    session.add(deployment)
    session.flush()
    project_service.touch(project)
    _record(session, actor, "deployment.create", deployment)
    return deployment


def change_deployment(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    deployment_id: UUID,
    name: str | None = None,
    model_id: UUID | None = None,
    threshold: float | None = None,
) -> Deployment:
    """Change what an endpoint serves, while it serves. What is None stays as it is.

    A new model without a threshold brings its own: a threshold means nothing to another model's scores. Calls that are
    being answered end with what they began with; within a second every process serves the new state.

    Raises:
        NotFound: No such project or endpoint, or the actor may not see it.
        PermissionDenied: The actor may not deploy.
        Invalid: Nothing is to change, or a value is not acceptable.
    """
    deployment = get_deployment(
        session, actor=actor, project_id=project_id, deployment_id=deployment_id, action=Action.DEPLOY
    )
    if name is None and model_id is None and threshold is None:
        raise Invalid(
            "Give a modelId or a threshold.",
            [_error("/modelId", "Give a modelId or a threshold.", "missing")],
        )
    if name is not None:
        deployment.name = _checked_name(name)
    if model_id is not None and model_id != deployment.model_id:
        model = _get_model(session, project_id, model_id)
        deployment.model_id, deployment.threshold = model.id, model.threshold
    if threshold is not None:
        deployment.threshold = _checked_threshold(threshold)
    deployment.updated_at = utc_now()
    _record(session, actor, "deployment.change", deployment)
    _forget_on_commit(session, deployment)
    return deployment


def set_active(session: Session, *, actor: Actor, project_id: int, deployment_id: UUID, is_active: bool) -> Deployment:
    """Pause an endpoint, which then answers 409 to every call, or resume it. Raises as `change_deployment` does."""
    deployment = get_deployment(
        session, actor=actor, project_id=project_id, deployment_id=deployment_id, action=Action.DEPLOY
    )
    deployment.is_active = is_active
    deployment.updated_at = utc_now()
    _record(session, actor, "deployment.resume" if is_active else "deployment.pause", deployment)
    _forget_on_commit(session, deployment)
    return deployment


def delete_deployment(session: Session, *, actor: Actor, project_id: int, deployment_id: UUID) -> None:
    """End an endpoint for good: its address answers 404 and its keys are revoked. The history of its calls stays.

    Raises:
        NotFound: No such project or endpoint, or the actor may not see it.
        PermissionDenied: The actor may not deploy.
    """
    deployment = get_deployment(
        session, actor=actor, project_id=project_id, deployment_id=deployment_id, action=Action.DEPLOY
    )
    deployment.deleted_at = utc_now()
    for key in list_endpoint_keys(session, deployment):
        key.revoked_at = utc_now()
    _record(session, actor, "deployment.delete", deployment)
    _forget_on_commit(session, deployment)


def create_endpoint_key(
    session: Session, *, actor: Actor, project_id: int, deployment_id: UUID, name: str = ""
) -> tuple[ApiKey, str]:
    """Make a key that calls this endpoint and does nothing else; the key itself is returned once and stored nowhere.

    Raises:
        NotFound: No such project or endpoint, or the actor may not see it.
        PermissionDenied: The actor may not deploy, or is itself a key.
        Invalid: The name is too long.
    """
    deployment = get_deployment(
        session, actor=actor, project_id=project_id, deployment_id=deployment_id, action=Action.DEPLOY
    )
    # The least of all roles: what the key may do is predicting, and should that ever widen, it widens from here.
    return account_service.create_key(
        session, actor=actor, name=name.strip() or deployment.name, role=Role.VIEWER, deployment_id=deployment.id
    )


def revoke_endpoint_key(session: Session, *, actor: Actor, project_id: int, deployment_id: UUID, key_id: UUID) -> None:
    """End a key of this endpoint, within two seconds in every process.

    Whoever may deploy may do so, also with another person's key: it is the endpoint's.

    Raises:
        NotFound: No such project, endpoint or key, or the actor may not see it.
        PermissionDenied: The actor may not deploy.
    """
    get_deployment(session, actor=actor, project_id=project_id, deployment_id=deployment_id, action=Action.DEPLOY)
    key = session.get(ApiKey, key_id)
    if key is None or key.deployment_id != deployment_id:
        raise NotFound("There is no such key.")
    key.revoked_at = key.revoked_at or utc_now()
    record(session, user_id=actor.user_id, action="key.revoke", subject=key.name, key_id=str(key.id))
    on_commit(session, access.forget_all)


def list_endpoint_keys(session: Session, deployment: Deployment) -> list[ApiKey]:
    """Return the keys of an endpoint that are not revoked, newest first."""
    query = select(ApiKey).where(ApiKey.deployment_id == deployment.id, ApiKey.revoked_at.is_(None))
    return list(session.scalars(query.order_by(ApiKey.created_at.desc())))


def prediction_url(base_url: str, deployment_id: UUID) -> str:
    """Return the address that programs post pictures to.

    It holds a `?`, because a published client appends its own parameters with `&`.
    """
    return f"{base_url.rstrip('/')}/inference/v1/predict?endpoint_id={deployment_id}"


def _get_model(session: Session, project_id: int, model_id: UUID) -> ModelVersion:
    model = session.get(ModelVersion, model_id)
    if model is None or model.project_id != project_id:
        raise Invalid("Please check the input.", [_error("/modelId", "This project has no such model.", "unknown")])
    return model


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME_LENGTH:
        message = f"Give the endpoint a name of up to {MAX_NAME_LENGTH} characters."
        raise Invalid("Please check the input.", [_error("/name", message, "required")])
    return name


def _checked_threshold(threshold: float) -> float:
    if not 0.0 <= threshold <= 1.0:  # also refuses NaN
        message = "A threshold lies between 0 and 1."
        raise Invalid("Please check the input.", [_error("/threshold", message, "range")])
    return float(threshold)


def _record(session: Session, actor: Actor, action: str, deployment: Deployment) -> None:
    record(
        session,
        user_id=actor.user_id,
        action=action,
        subject=deployment.name,
        deployment_id=str(deployment.id),
        model_id=str(deployment.model_id),
        threshold=deployment.threshold,
    )


def _forget_on_commit(session: Session, deployment: Deployment) -> None:
    on_commit(session, lambda: access.forget(deployment.id))


def _error(pointer: str, detail: str, code: str) -> dict[str, str]:
    return {"pointer": pointer, "detail": detail, "code": code}
