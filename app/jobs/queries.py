"""What is read for the Train screen, for the top bar and for REST, each in one statement."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, func, select
from sqlalchemy.orm import Session

from app.accounts.permissions import Actor
from app.contracts.jobs import JobKind, JobState, TrainSpec
from app.contracts.tasks import TaskType
from app.core.errors import NotFound
from app.datasets import readiness
from app.db.tables import Annotation, Category, DatasetVersion, Image, Job, JobEvent, ModelVersion, Project, User
from app.jobs import estimates
from app.jobs.schemas import ClassCount, JobRow, Readiness, RunningJob
from app.jobs.transitions import ACTIVE
from app.projects import service as project_service
from app.references import attaching

LISTED = 30
REFERENCES = {
    "one": "the reference image",
    "name": "its own reference image, by name",
    "metadata": "the reference image of its kind, by metadata",
}
"""What each image is compared with, for people, by the kind of rule."""
LOG_LINES = 200


def get_readiness(session: Session, project: Project) -> Readiness:
    """Count what could be trained on, and say what is missing. Freezing checks the same again."""
    task = TaskType(project.task)
    is_labelled = Image.is_labelled.is_(True)
    of_project = select(func.count()).where(Image.project_id == project.id)
    query = select(
        Category,
        func.count(func.distinct(Image.id)),
        of_project.where(is_labelled).scalar_subquery(),
        of_project.where(Image.is_labelled.is_(False)).scalar_subquery(),
        func.min(Image.id),
    )
    if task.has_shapes:
        query = query.outerjoin(Annotation, Annotation.category_id == Category.id).outerjoin(
            Image, and_(Image.id == Annotation.image_id, is_labelled)
        )
    else:
        query = query.outerjoin(Image, and_(Image.category_id == Category.id, is_labelled))
    query = query.where(Category.project_id == project.id).group_by(Category.id).order_by(Category.index)
    rows = session.execute(query).all()
    pairing = attaching.find_pairing(session, project)
    problem = _find_problem(task, {one: count for one, count, *_ in rows})
    return Readiness(
        classes=tuple(ClassCount(one.id, one.name, one.color, count) for one, count, *_ in rows),
        n_labelled=rows[0][2] if rows else 0,
        n_unlabelled=rows[0][3] if rows else 0,
        sample_image_id=next((image_id for *_, image_id in reversed(rows) if image_id is not None), None),
        problem=problem or (pairing.problem() if pairing else None),
        references=None if pairing is None else REFERENCES[pairing.rule.kind],
    )


def _find_problem(task: TaskType, held: dict[Category, int]) -> str | None:
    """Return why these classes cannot be trained on, in a sentence that says what to do; None where they can."""
    try:
        readiness.check_enough(task, list(held), {category.id: count for category, count in held.items()})
    except readiness.DatasetNotReady as problem:
        return problem.detail
    return None


def _jobs() -> Select[*tuple[Any, ...]]:
    return (
        select(Job, DatasetVersion, ModelVersion.id, ModelVersion.name, User.name, Project.task)
        .join(Project, Project.id == Job.project_id)
        .outerjoin(DatasetVersion, DatasetVersion.id == Job.dataset_version_id)
        .outerjoin(ModelVersion, ModelVersion.job_id == Job.id)
        .outerjoin(User, User.id == Job.created_by_id)
        .where(Job.kind == JobKind.TRAIN)
    )


def list_jobs(session: Session, project_id: int, *, limit: int = LISTED) -> list[JobRow]:
    """Return the project's trainings, the newest first."""
    query = _jobs().where(Job.project_id == project_id).order_by(Job.created_at.desc(), Job.id).limit(limit)
    return [to_row(row) for row in session.execute(query)]


def get_job(session: Session, project_id: int, job_id: UUID) -> JobRow:
    """Return a training of the project, which the caller has checked may be seen.

    Raises:
        NotFound: There is none of this id.
    """
    row = session.execute(_jobs().where(Job.id == job_id, Job.project_id == project_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such training in this project.")
    return to_row(row)


def list_past_runs(jobs: Sequence[JobRow]) -> list[estimates.PastRun]:
    return [
        estimates.PastRun(job.n_images, job.seconds)
        for job in jobs
        if job.state == JobState.SUCCEEDED and job.n_images and job.seconds is not None
    ]


def list_events(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, list[JobEvent]]:
    """Return what jobs said, in its order: every stage and point, and the last lines of the log."""
    events: dict[UUID, list[JobEvent]] = {job_id: [] for job_id in job_ids}
    if not job_ids:
        return events
    newest_lines = (
        select(JobEvent.id)
        .where(JobEvent.job_id.in_(job_ids), JobEvent.kind == "log")
        .order_by(JobEvent.id.desc())
        .limit(LOG_LINES)
    )
    query = (
        select(JobEvent)
        .where(JobEvent.job_id.in_(job_ids), (JobEvent.kind != "log") | JobEvent.id.in_(newest_lines))
        .order_by(JobEvent.id)
    )
    for event in session.scalars(query):
        events[event.job_id].append(event)
    return events


def list_running(session: Session, *, actor: Actor) -> list[RunningJob]:
    """Return the trainings under way in the projects that the actor may enter, the oldest first."""
    visible = project_service.visible_projects(actor).order_by(None).with_only_columns(Project.id)
    query = (
        select(Job, Project.name)
        .join(Project, Project.id == Job.project_id)
        .where(Job.kind == JobKind.TRAIN, Job.state.in_(sorted(ACTIVE)), Project.id.in_(visible))
        .order_by(Job.created_at)
        .limit(5)
    )
    return [
        RunningJob(job.id, job.project_id, name, job.state, round(job.fraction * 100))
        for job, name in session.execute(query)
    ]


def to_row(row: Row[*tuple[Any, ...]]) -> JobRow:
    job, version, model_id, model_name, author, task = row
    state = JobState(job.state)
    ended = job.ended_at if state.is_terminal else None
    return JobRow(
        id=job.id,
        spec=TrainSpec.model_validate(job.spec),
        project_id=job.project_id,
        task=TaskType(task),
        title=model_name or job.spec.get("name") or "Training",
        state=state.value,
        is_terminal=state.is_terminal,
        can_cancel=state in {JobState.QUEUED, JobState.RUNNING},
        fraction=job.fraction,
        stage=job.stage,
        message=job.message,
        error_id=job.error_id,
        n_images=version.n_images if version else None,
        version_number=version.number if version else None,
        n_attempts=job.n_attempts,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=ended,
        created_by=author,
        seconds=(ended - job.started_at).total_seconds() if ended and job.started_at else None,
        model_id=model_id,
        model_name=model_name,
    )
