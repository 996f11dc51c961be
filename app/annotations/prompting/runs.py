"""Runs: the worker learns from the strokes of a project and marks its images. Nothing here commits.

A run is a job. What is asked for while one is under way counts: a run that reads older strokes is stopped, and the next
one begins at once.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations.prompting.strokes import get_project, load_strokes
from app.contracts.jobs import JobKind, JobState
from app.core.errors import Invalid
from app.db.tables import Image, ImageStrokes, Job, PromptedMasks
from app.jobs import sending
from app.jobs.transitions import ACTIVE, move

MOST_IMAGES = 500
"""Images that a run marks: those that were painted on, then the first of the project."""


@dataclass(frozen=True, slots=True)
class RunState:
    """How far the last run is, and what there is to see of it.

    `seconds` is how long a run took that has ended well; `problem` says why the last one did not.
    """

    job_id: UUID | None
    is_active: bool
    is_waiting: bool
    percent: int
    message: str
    problem: str | None
    seconds: float | None
    n_painted: int
    n_images: int
    n_marked: int
    n_open: int
    n_empty: int

    @property
    def n_all(self) -> int:
        """How many images a run marks."""
        return min(self.n_images, MOST_IMAGES)

    @property
    def has_masks(self) -> bool:
        """Whether a run has left anything, be it that nothing was found."""
        return self.n_marked + self.n_empty > 0


def start_run(session: Session, *, actor: Actor, project_id: int) -> Job:
    """Queue a run over all strokes; one that waits already is returned, and one that runs is stopped for it.

    Raises:
        NotFound: No such project.
        PermissionDenied: The actor may not label.
        Invalid: No stroke shows a class.
    """
    get_project(session, actor=actor, project_id=project_id, action=Action.LABEL)
    if not any(
        stroke.category_id is not None for _, strokes in load_strokes(session, project_id) for stroke in strokes
    ):
        raise Invalid("Paint a stroke of a class first: it shows what to look for.")
    active = list(session.scalars(_jobs(project_id).where(Job.state.in_(sorted(ACTIVE)))))
    waiting = next((job for job in active if job.state == JobState.QUEUED), None)
    if waiting is not None:
        return waiting
    for job in active:
        move(session, job.id, JobState.CANCELLING)
    job = Job(project_id=project_id, kind=JobKind.PROMPT, state=JobState.QUEUED, spec={}, created_by_id=actor.user_id)
    session.add(job)
    session.flush()
    sending.send_after_commit(session, job)
    return job


def load_state(session: Session, project_id: int) -> RunState:
    """Return how far the last run is. The caller has checked that the project may be seen."""
    of_project = Image.project_id == project_id
    is_marked = PromptedMasks.score > 0
    counts = session.execute(
        select(
            func.count(Image.id),
            func.count(ImageStrokes.image_id).filter(ImageStrokes.n_strokes > 0),
            func.count(PromptedMasks.image_id).filter(is_marked),
            func.count(PromptedMasks.image_id).filter(is_marked, Image.is_labelled.is_(False)),
            func.count(PromptedMasks.image_id).filter(PromptedMasks.score == 0),
        )
        .outerjoin(ImageStrokes, ImageStrokes.image_id == Image.id)
        .outerjoin(PromptedMasks, PromptedMasks.image_id == Image.id)
        .where(of_project)
    ).one()
    # One that was stopped for the next is of no interest.
    shown = Job.state.not_in([JobState.CANCELLED, JobState.CANCELLING])
    job = session.scalar(_jobs(project_id).where(shown).order_by(Job.created_at.desc(), Job.id).limit(1))
    n_images, n_painted, n_marked, n_open, n_empty = counts
    return RunState(
        job_id=job.id if job else None,
        is_active=job is not None and job.state in ACTIVE,
        is_waiting=job is not None and job.state == JobState.QUEUED,
        percent=round(100 * job.fraction) if job else 0,
        message=job.message if job else "",
        problem=job.message if job is not None and job.state == JobState.FAILED else None,
        seconds=_seconds(job) if job else None,
        n_painted=n_painted,
        n_images=n_images,
        n_marked=n_marked,
        n_open=n_open,
        n_empty=n_empty,
    )


def has_masks_of(session: Session, image_id: int) -> bool:
    """Return whether a run looked at an image."""
    return bool(session.scalar(select(exists().where(PromptedMasks.image_id == image_id))))


def _seconds(job: Job) -> float | None:
    if job.state != JobState.SUCCEEDED or job.ended_at is None or job.started_at is None:
        return None
    return (job.ended_at - job.started_at).total_seconds()


def _jobs(project_id: int) -> Select[Job]:
    return select(Job).where(Job.project_id == project_id, Job.kind == JobKind.PROMPT)
