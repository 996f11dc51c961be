"""Messages for jobs, sent after the commit that makes them true."""

import logging
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.contracts.jobs import JobKind, JobState
from app.core.clock import utc_now
from app.core.errors import Unavailable
from app.db.session import on_commit, transaction
from app.db.tables import Job
from app.queue import current as job_queue

log = logging.getLogger(__name__)

# A message that nobody took for so long may be lost. One that is not finds the job taken, and costs nothing.
RESEND_AFTER_S = 60.0

_TASKS: dict[str, tuple[str, str]] = {
    JobKind.TRAIN: ("jobs.train", "gpu"),
    # Somebody sits and waits: it does not queue behind a training.
    JobKind.PROMPT: ("prompts.run", "cpu"),
}


def send_after_commit(session: Session, job: Job) -> None:
    """Send the job's message once this transaction has committed.

    With the broker away the job stays queued, marked as not sent; the reaper sends it when it is back.
    """
    job_id, kind = job.id, job.kind
    on_commit(session, lambda: _send(job_id, kind))


def _send(job_id: UUID, kind: str) -> None:
    task, queue = _TASKS[kind]
    try:
        job_queue.current().send(task, str(job_id), queue=queue)
    except Unavailable as error:
        log.warning("job %s is not sent: %s", job_id, error)
        return
    with transaction() as session:
        session.execute(
            update(Job)
            .where(Job.id == job_id, Job.state == JobState.QUEUED)
            .values(sent_at=utc_now())
            .execution_options(synchronize_session=False)
        )
