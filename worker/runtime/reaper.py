"""Puts right what no worker can: jobs whose worker died, whose message was lost, or that do not stop.

Run every few seconds by whichever worker is free. Two runs at once do no harm: each change is an update that takes
effect only while the row is as it was seen.
"""

import logging
import signal
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session

from app.contracts.jobs import JobState
from app.core.clock import utc_now
from app.db.session import transaction
from app.db.tables import Job
from app.jobs import events as job_events
from app.jobs import sending
from app.jobs.transitions import CLAIMED, move
from app.settings import Settings, get_settings
from worker.runtime import processes

log = logging.getLogger(__name__)

KILL_AFTER_S = 5.0  # between asking a process to end and ending it

GIVEN_UP = (
    "The worker ended {n} times before this training was finished. The machine may be short of memory: choose a "
    "smaller image size, and look at the worker's log."
)


def reap(*, is_fresh_worker: bool = False) -> None:
    """Bring back or end the jobs of dead workers, end what does not stop, and send lost messages again.

    Args:
        is_fresh_worker: A worker has just begun to listen: every waiting job is sent again, for the messages of a Redis
            that was restarted are gone.
    """
    settings, now = get_settings(), utc_now()
    with transaction() as session:
        jobs = list(session.scalars(select(Job).where(Job.state.in_(sorted(CLAIMED))).order_by(Job.created_at)))
        for job in jobs:
            _look_after(session, job, settings, now)
    with transaction() as session:
        for job in session.scalars(_unheard(now, is_fresh_worker=is_fresh_worker)):
            sending.send_after_commit(session, job)


def _look_after(session: Session, job: Job, settings: Settings, now: datetime) -> None:
    seen_at = job.heartbeat_at or job.started_at or job.created_at
    is_gone = processes.is_gone(job.worker_pid, job.worker_host, last_seen_at=seen_at)
    is_silent = now - seen_at > timedelta(seconds=settings.job_heartbeat_s)
    if job.state == JobState.CANCELLING:
        _see_it_stop(session, job, settings, now, is_lost=is_gone or is_silent)
    elif is_gone or is_silent:
        _bring_back(session, job, settings, "ended" if is_gone else "fell silent")


def _bring_back(session: Session, job: Job, settings: Settings, what: str) -> None:
    if job.n_attempts >= settings.job_max_attempts:
        message = GIVEN_UP.format(n=job.n_attempts)
        if move(session, job.id, JobState.FAILED, *_unchanged(job), message=message):
            job_events.add_log(session, job.id, message, "error")
            log.error("job %s is given up after %d attempts", job.id, job.n_attempts)
        return
    message = f"The worker {what}. The training goes on as soon as a worker is free."
    if move(session, job.id, JobState.QUEUED, *_unchanged(job), message=message):
        job_events.add_log(session, job.id, message, "warning")
        sending.send_after_commit(session, job)
        log.warning("job %s: its worker %s; it is queued again", job.id, what)


def _see_it_stop(session: Session, job: Job, settings: Settings, now: datetime, *, is_lost: bool) -> None:
    """End a job that should stop: at once when its worker is lost, by force when it takes too long."""
    asked_at = job.stop_asked_at or job.created_at
    late_s = (now - asked_at).total_seconds() - settings.job_cancel_grace_s
    if not is_lost and late_s < 0:
        return
    number = signal.SIGTERM if late_s < KILL_AFTER_S else signal.SIGKILL
    seen_at = job.heartbeat_at or asked_at
    was_asked = processes.end(job.worker_pid, job.worker_host, last_seen_at=seen_at, signal_number=number)
    if was_asked and number is signal.SIGTERM:
        return  # the next look finds it gone, or ends it
    if move(session, job.id, JobState.CANCELLED, *_unchanged(job), message="Stopped."):
        job_events.add_log(session, job.id, "Stopped: the work did not end by itself.")


def _unchanged(job: Job) -> list[ColumnElement[bool]]:
    """Return conditions that fail when the job was heard of, or changed hands, since it was read."""
    return [Job.state == job.state, Job.claim_token == job.claim_token, Job.heartbeat_at == job.heartbeat_at]


def _unheard(now: datetime, *, is_fresh_worker: bool) -> Select[Job]:
    """Select waiting jobs whose message may be lost.

    Whether a message still waits in Redis or is gone cannot be told cheaply, so it is sent again every minute; one too
    many finds the job taken.
    """
    query = select(Job).where(Job.state == JobState.QUEUED).order_by(Job.created_at)
    if is_fresh_worker:
        return query
    return query.where(or_(Job.sent_at.is_(None), Job.sent_at < now - timedelta(seconds=sending.RESEND_AFTER_S)))
