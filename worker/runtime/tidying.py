"""What has expired goes, and what was forgotten is asked for again. Run once an hour."""

import logging
from datetime import timedelta

from sqlalchemy import delete, select

from app.core.clock import utc_now
from app.core.errors import Unavailable
from app.db.session import new_session, transaction
from app.db.tables import Image, Job, UserSession
from app.images import service as image_service
from app.images import thumbnails
from app.jobs.transitions import ACTIVE
from app.queue import current as job_queue
from app.settings import get_settings
from worker.ml.prompting.kept import forget_old
from worker.runtime import workdirs

log = logging.getLogger(__name__)

_THUMBNAIL_OVERDUE = timedelta(minutes=10)


def tidy() -> None:
    """Remove expired sign-ins, images deleted long ago, unfinished work and old maps; ask for thumbnails."""
    remove_expired_sign_ins()
    remove_left_work()
    forget_old(get_settings().cache_dir)
    ask_for_missing_thumbnails()
    while purged := _purge_images():
        log.info("removed %d images that were deleted long ago", purged)


def remove_expired_sign_ins() -> None:
    with transaction() as session:
        session.execute(delete(UserSession).where(UserSession.expires_at < utc_now()))


def remove_left_work() -> None:
    """Remove this machine's folders of jobs that are over or gone."""
    left = workdirs.list_job_ids()
    if not left:
        return
    with new_session() as session:
        active = set(session.scalars(select(Job.id).where(Job.id.in_(left), Job.state.in_(sorted(ACTIVE)))))
    for job_id in set(left) - active:
        log.info("removing the unfinished work of job %s", job_id)
        workdirs.remove(job_id)


def ask_for_missing_thumbnails() -> None:
    """Send the message again where it was lost. Thumbnails are made when looked at, too, but slowly."""
    query = select(Image.project_id).where(
        Image.thumb_key.is_(None), Image.uploaded_at < utc_now() - _THUMBNAIL_OVERDUE
    )
    with new_session() as session:
        project_ids = list(session.scalars(query.distinct()))
    for project_id in project_ids:
        try:
            job_queue.current().send(thumbnails.TASK, str(project_id), queue="cpu")
        except Unavailable as error:
            log.warning("thumbnails of project %s are not asked for: %s", project_id, error.detail)


def _purge_images() -> int:
    with transaction() as session:
        return image_service.purge_deleted(session)
