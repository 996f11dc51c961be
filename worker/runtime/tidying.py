"""What has expired goes: sign-ins, and the unfinished work of jobs that have ended."""

import logging

from sqlalchemy import delete, select

from app.core.clock import utc_now
from app.db.session import new_session, transaction
from app.db.tables import Job, UserSession
from app.jobs.transitions import ACTIVE
from worker.runtime import workdirs

log = logging.getLogger(__name__)


def tidy() -> None:
    """Remove expired sign-ins, and this machine's folders of jobs that are over or gone."""
    with transaction() as session:
        session.execute(delete(UserSession).where(UserSession.expires_at < utc_now()))
    left = workdirs.list_job_ids()
    if not left:
        return
    with new_session() as session:
        active = set(session.scalars(select(Job.id).where(Job.id.in_(left), Job.state.in_(sorted(ACTIVE)))))
    for job_id in set(left) - active:
        log.info("removing the unfinished work of job %s", job_id)
        workdirs.remove(job_id)
