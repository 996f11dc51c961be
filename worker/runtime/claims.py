"""A worker's hold on a job: taken once, renewed while it works, given up in exactly one way."""

import errno
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.jobs import JobEventPayload, JobState, LogLine, Progress
from app.core.clock import utc_now
from app.core.errors import AppError
from app.db.session import transaction
from app.db.tables import Job
from app.jobs import events as job_events
from app.jobs.stages import STARTING
from app.jobs.transitions import move
from worker.runtime import processes
from worker.runtime.reporter import Reporter, Verdict

log = logging.getLogger(__name__)

T = TypeVar("T")
_RUNNING = frozenset({JobState.RUNNING})


class JobCancelled(Exception):
    """Somebody asked this job to stop."""


class ClaimLost(Exception):
    """The job is no longer this attempt's: it was given to another, or ended from outside."""


@dataclass(frozen=True)
class Ticket:
    """What an attempt knows of its job."""

    id: UUID
    project_id: int
    kind: str
    spec: dict[str, Any]
    dataset_version_id: int | None
    created_by_id: int | None
    n_attempts: int
    token: str


class ClaimedJob:
    """A job in the hands of this process. `ticket` is what was asked for."""

    def __init__(self, ticket: Ticket, reporter: Reporter) -> None:
        self.ticket = ticket
        self._reporter = reporter
        self._is_over = False

    def step(self, event: JobEventPayload) -> None:
        """Take what the work says, and tell it whether to go on. Cheap: call it at every batch.

        Raises:
            JobCancelled: Somebody asked the job to stop.
            ClaimLost: The job is another attempt's now; whatever is done here counts for nothing.
        """
        self._reporter.add(event)
        self.check()

    def check(self) -> None:
        """Raise as `step` does, without saying anything."""
        if self._reporter.verdict is Verdict.STOP:
            raise JobCancelled
        if self._reporter.verdict is Verdict.LOST:
            raise ClaimLost

    def log(self, text: str) -> None:
        """Write a line for people into the job's log. Raises as `step` does."""
        self.step(LogLine(text=text))

    def succeed(self, write: Callable[[Session], T]) -> T:
        """End the job well and store its result with `write`, both in one transaction or neither.

        Raises:
            JobCancelled: A request to stop came first; nothing is stored.
            ClaimLost: The job is no longer ours; nothing is stored.
        """
        rest = self._reporter.stop()
        with transaction() as session:
            if not move(
                session, self.ticket.id, JobState.SUCCEEDED, only_from=_RUNNING, token=self.ticket.token, **_DONE
            ):
                raise _why_refused(session, self.ticket)
            result = write(session)
            job_events.add(session, self.ticket.id, rest)
        self._is_over = True
        return result

    @property
    def is_over(self) -> bool:
        return self._is_over


_DONE = {"fraction": 1.0, "stage": "Done", "message": "", "error_id": None}


@contextmanager
def claim(job_id: UUID, *, on_overdue: Callable[[], None] | None = None) -> Iterator[ClaimedJob | None]:
    """Take a queued job; give None where it is not to be had (delivered twice, stopped, deleted).

    Every way out of the block ends the job in exactly one terminal state: success (`succeed`, or simply reaching the
    end), a stop, or a failure with a sentence for the person who waits. None of these exceptions leaves the block. Only
    the death of the process leaves the row as it is, for the reaper to find.

    Args:
        on_overdue: Called when the work goes on long after it should have stopped.
    """
    ticket = _take(job_id)
    if ticket is None:
        log.info("job %s is not waiting to be done", job_id)
        yield None
        return
    reporter = Reporter(ticket.id, ticket.token, on_overdue=on_overdue)
    job = ClaimedJob(ticket, reporter)
    reporter.start()
    try:
        yield job
        if not job.is_over:
            job.succeed(lambda _session: None)
    except JobCancelled:
        _end(ticket, reporter, JobState.CANCELLED, message="Stopped.")
    except ClaimLost:
        log.warning("job %s was lost by attempt %d", ticket.id, ticket.n_attempts)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the job ends and says so
        message, error_id = explain(error)
        _end(ticket, reporter, JobState.FAILED, message=message, error_id=error_id)
    finally:
        reporter.stop()


def _take(job_id: UUID) -> Ticket | None:
    token, now = uuid4().hex, utc_now()
    with transaction() as session:
        taken = move(
            session,
            job_id,
            JobState.RUNNING,
            claim_token=token,
            worker_pid=os.getpid(),
            worker_host=processes.host_id(),
            started_at=now,
            heartbeat_at=now,
            n_attempts=Job.n_attempts + 1,
            stage=STARTING,
            message="",
            fraction=0.0,
        )
        if not taken:
            return None
        job = session.execute(select(Job).where(Job.id == job_id)).scalar_one()
        again = "" if job.n_attempts == 1 else f" again (attempt {job.n_attempts}); what was finished before is kept"
        started: list[JobEventPayload] = [Progress(stage=STARTING, fraction=0.0), LogLine(text=f"Started{again}.")]
        job_events.add(session, job_id, started)
        return Ticket(
            id=job.id,
            project_id=job.project_id,
            kind=job.kind,
            spec=job.spec,
            dataset_version_id=job.dataset_version_id,
            created_by_id=job.created_by_id,
            n_attempts=job.n_attempts,
            token=token,
        )


def _end(ticket: Ticket, reporter: Reporter, target: JobState, *, message: str, error_id: str | None = None) -> None:
    """End the job without a result. A failure while stopping is a stop: that is what the person asked for."""
    rest = reporter.stop()
    level = "error" if target is JobState.FAILED else "info"
    with transaction() as session:
        only_from = _RUNNING if target is JobState.FAILED else None
        ended = move(
            session, ticket.id, target, only_from=only_from, token=ticket.token, message=message, error_id=error_id
        ) or move(session, ticket.id, JobState.CANCELLED, token=ticket.token, message="Stopped.")
        if ended:
            job_events.add(session, ticket.id, [*rest, LogLine(text=message, level=level)])  # type: ignore[arg-type]
    if not ended:
        log.warning("job %s had ended before attempt %d could end it", ticket.id, ticket.n_attempts)


def _why_refused(session: Session, ticket: Ticket) -> Exception:
    row = session.execute(select(Job.state, Job.claim_token).where(Job.id == ticket.id)).one_or_none()
    if row is None or row.claim_token != ticket.token or row.state != JobState.CANCELLING:
        return ClaimLost()
    return JobCancelled()


def explain(error: Exception) -> tuple[str, str | None]:
    """Return a sentence for the person who waits, and the id under which a fault of ours stands in the log."""
    if isinstance(error, AppError):
        return error.detail, None
    error_id = uuid4().hex[:12]
    log.error("job error %s\n%s", error_id, "".join(traceback.format_exception(error)))
    if _is_out_of_memory(error):
        return "The machine ran out of memory. Choose a smaller image size, and train again.", error_id
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "The disk is full. Make room, and train again: what was finished is kept.", error_id
    return f"This is a fault of Kizu's, not yours. It is in the worker's log as {error_id}.", error_id


def _is_out_of_memory(error: Exception) -> bool:
    # torch is not imported here: its error is known by its name, older ones by what they say.
    by_name = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return by_name or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())
