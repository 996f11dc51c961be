"""Jobs as people and programs ask for them. Nothing here commits."""

from uuid import UUID

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from app import catalog
from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.contracts.jobs import JobKind, JobState, TrainSpec
from app.contracts.tasks import TaskType
from app.core.errors import Conflict, InUse, NotFound
from app.datasets import service as dataset_service
from app.db.tables import DatasetVersion, Job, ModelVersion
from app.jobs import events as job_events
from app.jobs import sending
from app.jobs.transitions import ACTIVE, move
from app.projects import service as project_service


class JobNotCancellable(Conflict):
    """The job has ended already; `extra["state"]` says how."""

    code, title = "job_not_cancellable", "Nothing to stop"


def start_training(session: Session, *, actor: Actor, project_id: int, spec: TrainSpec) -> Job:
    """Freeze the project's labelled images and queue a training on them.

    Does not commit. The message leaves only after the caller's commit; if the broker is down the row stays `queued`
    and the reaper sends it again. Asked twice for the same training of the same images while the first is under way
    (a double click, a retried call), it returns that first job.

    Raises:
        NotFound: No such project, or the actor may not see it.
        PermissionDenied: The actor may see the project, but not train in it.
        UnknownChoice: The spec names something that the catalog lacks.
        IncompatibleChoice: The spec names things that do not go together.
        DatasetNotReady: Some class has too few labelled images, or there are fewer than two classes.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.TRAIN)
    catalog.check(spec, TaskType(project.task))
    version = dataset_service.freeze(
        session,
        project=project,
        created_by_id=actor.user_id,
        with_references=spec.use_references and not catalog.METHODS[spec.method].is_painted,
        with_strokes=catalog.METHODS[spec.method].is_painted,
    )
    chosen = spec.model_dump(mode="json")
    same = _find_same(session, project_id, version, chosen)
    if same is not None:
        return same
    job = Job(
        project_id=project_id,
        kind=JobKind.TRAIN,
        state=JobState.QUEUED,
        spec=chosen,
        dataset_version_id=version.id,
        created_by_id=actor.user_id,
    )
    session.add(job)
    session.flush()
    record(session, user_id=actor.user_id, action="job.start", subject=spec.name or "training", project_id=project_id)
    sending.send_after_commit(session, job)
    return job


def _find_same(session: Session, project_id: int, version: DatasetVersion, chosen: dict[str, object]) -> Job | None:
    query = (
        select(Job)
        .join(DatasetVersion, DatasetVersion.id == Job.dataset_version_id)
        .where(
            Job.project_id == project_id,
            Job.state.in_([JobState.QUEUED, JobState.RUNNING]),
            DatasetVersion.content_hash == version.content_hash,
        )
    )
    return next((job for job in session.scalars(query) if job.spec == chosen), None)


def get_for(session: Session, *, actor: Actor, project_id: int, job_id: UUID, action: Action = Action.VIEW) -> Job:
    """Return a job of a project that the actor may do `action` in.

    Raises:
        NotFound: No such project or job, or the actor may not see it.
        PermissionDenied: The actor may see it, but not do this.
    """
    project_service.get_for(session, actor=actor, project_id=project_id, action=action)
    job = session.get(Job, job_id)
    if job is None or job.project_id != project_id:
        raise NotFound("There is no such training in this project.")
    return job


def request_cancel(session: Session, *, actor: Actor, project_id: int, job_id: UUID) -> Job:
    """Ask a job to stop: a waiting one is stopped at once, a running one at its next step.

    Asking again changes nothing.

    Raises:
        NotFound: No such project or job.
        PermissionDenied: The actor may not train in this project.
        JobNotCancellable: The job has ended.
    """
    job = get_for(session, actor=actor, project_id=project_id, job_id=job_id, action=Action.TRAIN)
    said = None
    if move(session, job_id, JobState.CANCELLED, only_from=_WAITING, message="Stopped before it began."):
        said = f"Stopped by {actor.name} before it began."
    elif move(session, job_id, JobState.CANCELLING):
        said = f"{actor.name} asked to stop."
    session.refresh(job)
    if job.state not in {JobState.CANCELLING, JobState.CANCELLED}:
        raise JobNotCancellable(f"This training has ended already: it {_ENDED[JobState(job.state)]}.", state=job.state)
    if said:
        job_events.add_log(session, job_id, said)
        record(session, user_id=actor.user_id, action="job.cancel", subject=str(job_id), project_id=project_id)
    return job


_WAITING = frozenset({JobState.QUEUED})
_ENDED = {JobState.SUCCEEDED: "succeeded", JobState.FAILED: "failed"}


def delete_job(session: Session, *, actor: Actor, project_id: int, job_id: UUID) -> None:
    """Remove an ended job and its log.

    Raises:
        NotFound: No such project or job.
        PermissionDenied: The actor may not delete in this project.
        InUse: The job is under way, or its model still exists.
    """
    job = get_for(session, actor=actor, project_id=project_id, job_id=job_id, action=Action.DELETE)
    if session.scalar(select(exists().where(ModelVersion.job_id == job_id))):
        raise InUse("The model of this training still exists. Delete the model first.")
    ended = delete(Job).where(Job.id == job_id, Job.state.not_in(sorted(ACTIVE))).returning(Job.id)
    if session.execute(ended.execution_options(synchronize_session=False)).first() is None:
        raise InUse("This training is under way. Stop it first.", state=job.state)
    session.expunge(job)
    record(session, user_id=actor.user_id, action="job.delete", subject=str(job_id), project_id=project_id)
