"""One run of visual prompting from a claimed job to stored masks: images that were painted on come first."""

import logging
from collections.abc import Sequence
from itertools import islice

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.annotations.prompting import masks as mask_service
from app.annotations.prompting.runs import MOST_IMAGES
from app.annotations.prompting.strokes import load_strokes
from app.catalog import BackboneCard
from app.contracts.dataset import CategoryRef, DatasetItem
from app.contracts.jobs import JobKind, JobState, Progress
from app.contracts.predictions import PredictedShape
from app.contracts.strokes import Stroke
from app.db.session import new_session, transaction
from app.db.tables import Image, Job, PromptedMasks
from app.jobs.transitions import ACTIVE
from app.projects import service as project_service
from app.settings import get_settings
from worker.ml.prompting.marking import Marking
from worker.ml.prompting.marking import Progress as MarkingProgress
from worker.runtime.claims import ClaimedJob
from worker.runtime.originals import Originals

log = logging.getLogger(__name__)

STAGE = "Masks"
_CHUNK = 100  # images whose masks are stored together


def run(job: ClaimedJob, *, card: BackboneCard | None = None) -> None:
    """Mark the images of the job's project by its strokes.

    Masks are stored as they come, those of painted images first; a run that is stopped leaves what it has stored.

    Raises:
        NotTrainable: No stroke of a class lies on an image that can be read.
        JobCancelled: Somebody asked to stop, or for a newer run.
        ClaimLost: The job is another attempt's now.
    """
    project_id = job.ticket.project_id
    items, strokes, categories = load(project_id)
    originals = Originals()
    marking = Marking(
        items,
        strokes,
        categories,
        cache_dir=get_settings().cache_dir,
        open_image=originals.open,
        on_progress=lambda progress: job.step(_shown(progress)),
        card=card,
    )
    classifier = marking.learn()
    found = marking.mark(classifier, items)
    n_painted = sum(item.image_id in strokes and item.image_id not in marking.unreadable for item in items)
    chunk = list(islice(found, n_painted))
    while following := list(islice(found, _CHUNK)):
        _store(job, chunk, categories)
        chunk = following
    for image_id, problem in marking.unreadable.items():
        log.warning("image %s is left out: %s", image_id, problem)
    job.succeed(lambda session: _finish(session, job, chunk, categories))


def load(project_id: int) -> tuple[list[DatasetItem], dict[int, Sequence[Stroke]], tuple[CategoryRef, ...]]:
    """Return the images of a run, those that were painted on first, what was painted, and the classes."""
    with new_session() as session:
        strokes: dict[int, Sequence[Stroke]] = dict(load_strokes(session, project_id))
        is_painted = Image.id.in_(list(strokes))
        query = (
            select(Image).where(Image.project_id == project_id).order_by(is_painted.desc(), Image.id).limit(MOST_IMAGES)
        )
        items = [
            DatasetItem(
                image_id=image.id,
                sha256=image.sha256,
                blob_key=image.blob_key,
                width_px=image.width_px,
                height_px=image.height_px,
                split=None,
            )
            for image in session.scalars(query)
        ]
        categories = tuple(
            CategoryRef(id=one.id, name=one.name, color=one.color, is_good=one.is_good)
            for one in project_service.list_categories(session, project_id)
        )
    return items, strokes, categories


Found = Sequence[tuple[DatasetItem, tuple[PredictedShape, ...]]]


def _store(job: ClaimedJob, found: Found, categories: Sequence[CategoryRef]) -> None:
    """Store masks as long as the job is still ours."""
    job.check()
    with transaction() as session:
        held = select(Job.id).where(
            Job.id == job.ticket.id, Job.claim_token == job.ticket.token, Job.state == JobState.RUNNING
        )
        if session.scalar(held) is not None:
            _write(session, job, found, categories)


def _finish(session: Session, job: ClaimedJob, found: Found, categories: Sequence[CategoryRef]) -> None:
    """Store the last masks, and forget those of earlier runs with these runs themselves."""
    _write(session, job, found, categories)
    project_id, job_id = job.ticket.project_id, job.ticket.id
    others = PromptedMasks.project_id == project_id, PromptedMasks.job_id != job_id
    session.execute(delete(PromptedMasks).where(*others).execution_options(synchronize_session=False))
    earlier = Job.project_id == project_id, Job.kind == JobKind.PROMPT, Job.id != job_id
    session.execute(
        delete(Job).where(*earlier, Job.state.not_in(sorted(ACTIVE))).execution_options(synchronize_session=False)
    )


def _write(session: Session, job: ClaimedJob, found: Found, categories: Sequence[CategoryRef]) -> None:
    rows = {
        item.image_id: [
            {
                "category_id": categories[shape.category_index].id,
                "score": round(shape.score, 4),
                "mask": shape.mask.model_dump(),
            }
            for shape in shapes
            if shape.mask is not None
        ]
        for item, shapes in found
    }
    mask_service.store(session, project_id=job.ticket.project_id, job_id=job.ticket.id, found=rows)


def _shown(progress: MarkingProgress) -> Progress:
    # Fitting takes about as long as marking a hundred images.
    fraction = 0.4 + 0.6 * progress.share if progress.stage.startswith("Marking") else 0.4 * progress.share
    return Progress(stage=STAGE, fraction=fraction, message=progress.stage)
