"""Published models: who may see, rename, delete and take them away. Nothing here commits."""

import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.contracts.bundle import BundleManifest
from app.core.errors import Conflict, InUse, NameTaken, NotFound
from app.db.session import on_commit
from app.db.tables import Deployment, Job, ModelVersion, Prediction, Project
from app.inference.bundle import bundle_files
from app.projects import service as project_service
from app.registry.publishing import publish
from app.storage.current import blobs

__all__ = [
    "ReportNotReady",
    "bundle_zip",
    "delete_model",
    "get_for",
    "get_for_job",
    "get_in_project",
    "manifest_of",
    "publish",
    "rename_model",
]

_CHUNK_BYTES = 1 << 20


class ReportNotReady(Conflict):
    """A training's figures are asked for before it published a model."""

    code, title = "report_not_ready", "No figures yet"


def get_for(
    session: Session, *, actor: Actor, project_id: int, model_id: UUID, action: Action = Action.VIEW
) -> tuple[Project, ModelVersion]:
    """Return a project that the actor may do `action` in, and its model.

    Raises:
        NotFound: No such project, or no such model in it, or the actor may not see it.
        PermissionDenied: The actor may see it, but not do this.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=action)
    return project, get_in_project(session, project_id=project_id, model_id=model_id)


def get_in_project(session: Session, *, project_id: int, model_id: UUID) -> ModelVersion:
    """Return a model of the project; the caller has checked that the project may be seen. Raises `NotFound`."""
    model = session.get(ModelVersion, model_id)
    if model is None or model.project_id != project_id:
        raise NotFound("There is no such model in this project.")
    return model


def get_for_job(session: Session, *, actor: Actor, project_id: int, job_id: UUID) -> ModelVersion:
    """Return the model that a training published.

    Raises:
        NotFound: No such project or training, or the actor may not see it.
        ReportNotReady: The training has published nothing, or not yet.
    """
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    row = session.execute(
        select(Job, ModelVersion)
        .outerjoin(ModelVersion, ModelVersion.job_id == Job.id)
        .where(Job.id == job_id, Job.project_id == project_id)
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such training in this project.")
    job, model = row
    if model is None:
        raise ReportNotReady(f"This training has no figures: its state is {job.state}.", state=job.state)
    return model


def manifest_of(model: ModelVersion) -> BundleManifest:
    return BundleManifest.model_validate(model.manifest)


def rename_model(session: Session, *, actor: Actor, project_id: int, model_id: UUID, name: str) -> ModelVersion:
    """Give a model another name. The manifest inside its bundle keeps the one it was published under.

    Raises:
        NotFound: No such project or model.
        PermissionDenied: The actor may not train in this project.
        Invalid: The name is empty, too long, or holds control characters.
        NameTaken: Another model of the project has this name.
    """
    _, model = get_for(session, actor=actor, project_id=project_id, model_id=model_id, action=Action.TRAIN)
    name = project_service.required_name(name)
    taken = select(ModelVersion.id).where(
        ModelVersion.project_id == project_id, ModelVersion.name == name, ModelVersion.id != model_id
    )
    if session.scalar(taken.limit(1)) is not None:
        raise NameTaken(f"There is a model named “{name}” already.")
    record(session, user_id=actor.user_id, action="model.rename", subject=name, project_id=project_id, was=model.name)
    model.name = name
    return model


def delete_model(session: Session, *, actor: Actor, project_id: int, model_id: UUID) -> None:
    """Remove a model, its predictions and its files; with them, the calls of deployments deleted earlier.

    Raises:
        NotFound: No such project or model.
        PermissionDenied: The actor may not delete here.
        InUse: A deployment serves it; `extra["deployments"]` names them.
    """
    _, model = get_for(session, actor=actor, project_id=project_id, model_id=model_id, action=Action.DELETE)
    rows = session.execute(
        select(Deployment.name, Deployment.deleted_at).where(Deployment.model_id == model_id).order_by(Deployment.name)
    ).all()
    serving = [name for name, deleted_at in rows if deleted_at is None]
    if serving:
        names = ", ".join(f"“{name}”" for name in serving)
        raise InUse(f"The model serves {names}. Give it another model or delete it first.", deployments=serving)
    session.execute(delete(Deployment).where(Deployment.model_id == model_id))
    session.execute(delete(Prediction).where(Prediction.model_id == model_id))
    record(session, user_id=actor.user_id, action="model.delete", subject=model.name, project_id=project_id)
    prefix, heat_prefix = model.bundle_key, f"projects/{project_id}/heat/{model_id}"
    session.delete(model)
    session.flush()
    on_commit(session, lambda: blobs().delete_prefix(prefix))
    on_commit(session, lambda: blobs().delete_prefix(heat_prefix))


def bundle_zip(model: ModelVersion) -> Iterator[bytes]:
    """Yield the files of a model as one zip archive, never more than a piece of it in memory.

    Weights do not compress, so they are stored as they are.

    Raises:
        BlobMissing: Before anything is yielded, where a file of the bundle is gone.
    """
    files = [(name, blobs().open(f"{model.bundle_key}/{name}")) for name in bundle_files(manifest_of(model))]
    return _zipped(files)


def _zipped(files: list[tuple[str, BinaryIO]]) -> Iterator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, source in files:
            with source, archive.open(name, "w", force_zip64=True) as target:
                while piece := source.read(_CHUNK_BYTES):
                    target.write(piece)
                    yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A file that cannot seek: what `zipfile` writes waits here until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # zipfile writes bytes only
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
