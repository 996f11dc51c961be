"""What a running job says, written by a thread of its own: the work never waits for the database."""

import logging
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.contracts.jobs import JobEventPayload, JobState, Progress
from app.core.clock import utc_now
from app.db.session import transaction
from app.db.tables import Job
from app.jobs import events as job_events
from app.jobs.transitions import CLAIMED
from app.settings import get_settings

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5
_LONGEST_STAGE = 60


class Verdict(StrEnum):
    """What the row says about the work that is being done for it."""

    GO_ON = "go on"
    STOP = "stop"
    LOST = "lost"


class Reporter:
    """Stores events at most twice a second, and a heartbeat every second, also while the work says nothing.

    With each write it learns whether the work is still wanted (`verdict`). Work that goes on for longer than
    `job_cancel_grace_s` after it is no longer wanted makes it call `on_overdue` once.
    """

    def __init__(self, job_id: UUID, token: str, *, on_overdue: Callable[[], None] | None = None) -> None:
        settings = get_settings()
        self._job_id = job_id
        self._token = token
        self._on_overdue = on_overdue
        self._grace_s = settings.job_cancel_grace_s
        self._beat_every_s = min(1.0, settings.job_heartbeat_s / 4)
        self._pending: list[JobEventPayload] = []
        self._rest: list[JobEventPayload] | None = None
        self._stage = ""
        self._fraction = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-reporter", daemon=True)
        self.verdict = Verdict.GO_ON

    def start(self) -> None:
        self._thread.start()

    def add(self, event: JobEventPayload) -> None:
        """Take an event; it is stored within half a second."""
        with self._lock:
            self._pending.append(event)

    def stop(self) -> list[JobEventPayload]:
        """End the thread; return what it has not stored, for the transaction that ends the job.

        Call it before that transaction begins: on SQLite the thread would wait for it. Further calls return the same.
        """
        if self._rest is None:
            self._ended.set()
            self._thread.join(timeout=35)  # a little more than SQLite's patience with another writer
            self._rest = self._worth_keeping(self._pending)
        return self._rest

    def _run(self) -> None:
        last_write = time.monotonic()
        unwanted_since: float | None = None
        while not self._ended.wait(min(WRITE_EVERY_S, self._beat_every_s)):
            if self._pending or time.monotonic() - last_write >= self._beat_every_s:
                self._write()
                last_write = time.monotonic()
            if self.verdict is Verdict.GO_ON:
                continue
            unwanted_since = unwanted_since or time.monotonic()
            if self._on_overdue is not None and time.monotonic() - unwanted_since > self._grace_s:
                log.warning("job %s does not stop by itself", self._job_id)
                self._on_overdue()
                return

    def _write(self) -> None:
        with self._lock:
            taken, self._pending = self._pending, []
        stage_before = self._stage
        try:
            with transaction() as session:
                state = self._touch(session, taken)
                if state is not None:
                    job_events.add(session, self._job_id, self._worth_keeping(taken))
        except (OperationalError, InterfaceError):
            # A database that is away for a moment costs nothing: the events wait, and the row keeps the last heartbeat.
            log.warning("job %s could not report", self._job_id, exc_info=True)
            self._stage = stage_before
            with self._lock:
                self._pending = taken + self._pending
            return
        except SQLAlchemyError:  # what cannot be stored now cannot be stored later; the work itself goes on
            log.exception("job %s: %d events are lost", self._job_id, len(taken))
            return
        if state is None:
            self.verdict = Verdict.LOST
        elif state == JobState.CANCELLING:
            self.verdict = Verdict.STOP

    def _touch(self, session: Session, taken: list[JobEventPayload]) -> str | None:
        """Write heartbeat and progress; return the row's state, or None when the claim is not ours any more."""
        values: dict[str, Any] = {"heartbeat_at": utc_now()}
        progress = next((event for event in reversed(taken) if isinstance(event, Progress)), None)
        if progress is not None:
            self._fraction = max(self._fraction, progress.fraction)
            values |= {
                "stage": progress.stage[:_LONGEST_STAGE],
                "message": progress.message.replace("\0", ""),
                "fraction": self._fraction,
            }
        query = (
            update(Job)
            .where(Job.id == self._job_id, Job.claim_token == self._token, Job.state.in_(sorted(CLAIMED)))
            .values(values)
            .returning(Job.state)
            .execution_options(synchronize_session=False)
        )
        return session.execute(query).scalar_one_or_none()

    def _worth_keeping(self, events: list[JobEventPayload]) -> list[JobEventPayload]:
        """Leave out progress inside a stage: the row has it, and a line of stages needs only their beginnings."""
        kept: list[JobEventPayload] = []
        for event in events:
            if isinstance(event, Progress):
                if event.stage == self._stage:
                    continue
                self._stage = event.stage
            kept.append(event)
        return kept
