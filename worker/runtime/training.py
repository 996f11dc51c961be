"""One training from a claimed job to a published model: the data comes in, `worker.ml` works, the result goes out."""

import logging
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog import NotTrainable
from app.contracts.dataset import Dataset
from app.contracts.jobs import Progress, TrainSpec
from app.core.errors import AppError, NotFound
from app.datasets import service as dataset_service
from app.db.session import new_session
from app.db.tables import DatasetVersion, Image, ModelVersion, User
from app.db.visibility import WITH_DELETED
from app.jobs.stages import PUBLISHING
from app.registry import publishing
from app.settings import get_settings
from app.storage.current import blobs
from app.storage.errors import BlobMissing
from worker.ml.evaluation.parity import ParityFailed
from worker.ml.training.bundling import Origin
from worker.ml.training.registry import TRAININGS
from worker.ml.training.result import TrainedModel
from worker.runtime import workdirs
from worker.runtime.claims import ClaimedJob
from worker.runtime.code import code_version
from worker.runtime.originals import Originals

log = logging.getLogger(__name__)

_N_NAMED = 5  # images that a message names
_N_ASKING = 16  # threads


class ModelNotProven(AppError):
    """The finished file does not say what the trained model said, so it is not served to anybody."""

    code, title = "model_not_proven", "The model was not published"


class OriginalsMissing(AppError):
    """Somebody took the files of images away from under the installation."""

    code, title = "originals_missing", "Original files are missing"

    @classmethod
    def of(cls, session: Session, dataset: Dataset) -> "OriginalsMissing":
        """Return the error that names the images of the dataset whose files are gone, and says what to do."""
        items = [*dataset.items, *dataset.unlabelled]
        with ThreadPoolExecutor(_N_ASKING) as pool:  # a remote store takes its time for each
            there = list(pool.map(lambda item: blobs().exists(item.blob_key), items))
        image_ids = [item.image_id for item, is_there in zip(items, there, strict=True) if not is_there]
        found = select(Image.name).where(Image.id.in_(sorted(image_ids)[:_N_NAMED])).order_by(Image.id)
        names = list(session.scalars(found, execution_options=WITH_DELETED))
        rest = f" and {len(image_ids) - len(names):,} more" if len(image_ids) > len(names) else ""
        which = "The original file" if len(image_ids) == 1 else "The original files"
        is_missing = "is missing" if len(image_ids) == 1 else "are missing"
        return cls(
            f"{which} of {len(image_ids):,} of {len(items):,} images {is_missing} from the store: "
            f"{', '.join(names)}{rest}. Put the files back from a backup, or delete these images and upload "
            "them again; then train again.",
            image_ids=sorted(image_ids),
        )


def run(job: ClaimedJob) -> None:
    """Train as the job asks, and publish the model in the transaction that ends the job.

    A second attempt goes on where the first was: it finds the features and the choices that were made.

    Raises:
        NotTrainable: Too few images can be read.
        OriginalsMissing: Too few images can be read, because the files of some are gone from the store.
        ModelNotProven: The finished file disagrees with the trained model; its files are kept for inspection.
        JobCancelled: Somebody asked to stop.
        ClaimLost: The job is another attempt's now.
    """
    ticket = job.ticket
    spec = TrainSpec.model_validate(ticket.spec)
    dataset, created_by = load(ticket.dataset_version_id, ticket.created_by_id)
    job.log(_opening(dataset))
    originals = Originals()
    with workdirs.work_dir(ticket.id) as folder:
        try:
            trained = TRAININGS[dataset.task](
                spec,
                dataset,
                open_image=originals.open,
                cache_dir=get_settings().cache_dir,
                work_dir=folder,
                on_event=job.step,
                origin=Origin(ticket.dataset_version_id, code_version(), created_by),
            )
        except ParityFailed as error:
            log.error("job %s: %s", ticket.id, error)
            raise ModelNotProven(f"{error} Its files lie in {_keep(folder, str(ticket.id))}.") from error
        except (NotTrainable, BlobMissing) as error:
            if not originals.any_missing:
                raise
            with new_session() as session:
                raise OriginalsMissing.of(session, dataset) from error
        job.step(Progress(stage=PUBLISHING, fraction=0.98, message="Storing the model"))
        model = job.succeed(lambda session: _publish(session, job, spec, trained))
    log.info("job %s published model %s", ticket.id, model.id)


def load(dataset_version_id: int | None, user_id: int | None) -> tuple[Dataset, str | None]:
    """Return the frozen images, and the name of who asked for the training.

    Raises:
        NotFound: The version is gone, or its file is.
    """
    with new_session() as session:
        version = session.get(DatasetVersion, dataset_version_id) if dataset_version_id is not None else None
        user = session.get(User, user_id) if user_id is not None else None
    if version is None:
        raise NotFound("The dataset version of this training is gone. Start a new training.")
    return dataset_service.load_items(version), user.name if user else None


def _opening(dataset: Dataset) -> str:
    counts = Counter(item.split for item in dataset.items)
    parts = ", ".join(f"{n:,} {split}" for split, n in sorted(counts.items(), key=lambda pair: -pair[1]))
    unlabelled = f"; {len(dataset.unlabelled):,} unlabelled images are predicted" if dataset.unlabelled else ""
    return f"{len(dataset.items):,} labelled images in {len(dataset.categories)} classes: {parts}{unlabelled}."


def _publish(session: Session, job: ClaimedJob, spec: TrainSpec, trained: TrainedModel) -> ModelVersion:
    return publishing.publish(
        session,
        job=job.ticket,
        name=spec.name,
        bundle_dir=trained.bundle_dir,
        manifest=trained.manifest,
        metrics={split: measured.model_dump(mode="json") for split, measured in trained.metrics.items()},
        tables=trained.tables,
        predictions=trained.predictions,
    )


def _keep(folder: Path, name: str) -> Path:
    """Move the folder out of the reach of tidying; return where it is."""
    target = get_settings().home / "unproven" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target
