"""How a trained model enters the registry: its files into the store, its row and its predictions into the tables."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import event, insert, select
from sqlalchemy.orm import Session

from app.accounts.service import record
from app.contracts.bundle import MANIFEST_NAME, BundleManifest
from app.contracts.predictions import ImagePrediction
from app.core.ids import new_uuid
from app.db.session import on_commit
from app.db.tables import Image, ModelVersion, Prediction
from app.db.visibility import WITH_DELETED
from app.registry.rows import ROWS
from app.storage import keys
from app.storage.current import blobs

_NUMBERED = re.compile(r"Model (\d+)")
_ROWS_A_STATEMENT = 5000


class PublishingJob(Protocol):
    """The members of a job that a model remembers."""

    @property
    def id(self) -> UUID: ...
    @property
    def project_id(self) -> int: ...
    @property
    def dataset_version_id(self) -> int | None: ...
    @property
    def created_by_id(self) -> int | None: ...


def publish(
    session: Session,
    *,
    job: PublishingJob,
    name: str | None,
    bundle_dir: Path,
    manifest: BundleManifest,
    metrics: Mapping[str, Any],
    tables: Mapping[str, Any],
    predictions: Sequence[ImagePrediction],
) -> ModelVersion:
    """Store a model with what it says of every image of its project.

    Does not commit: the worker commits it together with the job's end. A job publishes once; a second call for the same
    job changes nothing and returns the first model. Files that were stored are removed when the transaction is rolled
    back. Predictions of images that were purged meanwhile are left out.

    Args:
        name: A numbered one where None or empty; one that is taken gets a number behind it.
        bundle_dir: Folder with the files of the bundle; its manifest is written anew, under the model's name.
        metrics: `{split: figures}` of the evaluation at the manifest's threshold, each as its task's metrics write it.
            Reports count `predictions` anew with the same functions, so both say the same.
    """
    existing = session.scalar(select(ModelVersion).where(ModelVersion.job_id == job.id))
    if existing is not None:
        return existing
    model_id = new_uuid()
    manifest = manifest.model_copy(update={"name": _free_name(session, job.project_id, name)})
    prefix = keys.bundle(job.project_id, model_id)
    _remove_on_rollback(session, prefix)
    model = ModelVersion(
        id=model_id,
        project_id=job.project_id,
        job_id=job.id,
        dataset_version_id=job.dataset_version_id,
        name=manifest.name,
        bundle_key=prefix,
        n_bytes=_store_bundle(bundle_dir, prefix, manifest),
        manifest=manifest.model_dump(mode="json"),
        metrics=dict(metrics),
        tables=dict(tables),
        threshold=manifest.decision.threshold,
        created_by_id=job.created_by_id,
    )
    session.add(model)
    session.flush()
    _insert_predictions(session, model, manifest, predictions)
    record(session, user_id=job.created_by_id, action="model.publish", subject=model.name, project_id=job.project_id)
    return model


def _free_name(session: Session, project_id: int, wanted: str | None) -> str:
    taken = set(session.scalars(select(ModelVersion.name).where(ModelVersion.project_id == project_id)))
    wanted = " ".join((wanted or "").split())[:180]
    if not wanted:
        numbers = [int(match[1]) for name in taken if (match := _NUMBERED.fullmatch(name))]
        return f"Model {max([len(taken), *numbers]) + 1}"
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted} ({count})"
    return name


def _store_bundle(bundle_dir: Path, prefix: str, manifest: BundleManifest) -> int:
    """Put the bundle's files below `prefix`; return their size in bytes."""
    content = manifest.model_dump_json(indent=2).encode()
    n_bytes = len(content)
    for path in sorted(path for path in bundle_dir.iterdir() if path.is_file() and path.name != MANIFEST_NAME):
        n_bytes += path.stat().st_size
        blobs().put(f"{prefix}/{path.name}", path)
    blobs().put(f"{prefix}/{MANIFEST_NAME}", content)  # last: a bundle with a manifest is whole
    return n_bytes


def _remove_on_rollback(session: Session, prefix: str) -> None:
    is_committed = False

    def keep() -> None:
        nonlocal is_committed
        is_committed = True

    def remove(_session: Session) -> None:
        if not is_committed:
            blobs().delete_prefix(prefix)

    on_commit(session, keep)
    event.listen(session, "after_rollback", remove)


def _insert_predictions(
    session: Session, model: ModelVersion, manifest: BundleManifest, predictions: Sequence[ImagePrediction]
) -> None:
    # The rows are locked against deletion until the commit; SQLite has one writer anyway.
    present = set(
        session.scalars(
            select(Image.id).where(Image.project_id == model.project_id).with_for_update(read=True, key_share=True),
            execution_options=WITH_DELETED,
        )
    )
    kept = [item for item in predictions if item.image_id in present]
    if not kept:
        return
    rows = [{"model_id": model.id} | row for row in ROWS[manifest.task](manifest, kept)]
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        session.execute(insert(Prediction), rows[start : start + _ROWS_A_STATEMENT])
