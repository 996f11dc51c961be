"""The one place where a job changes its state: an update that takes effect only from a state that allows it.

Two processes may try at the same moment (a person stops, the worker ends, the reaper gives up): the database lets one
of them through, and the others learn that they came too late.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from app.contracts.jobs import TRANSITIONS, JobState
from app.core.clock import utc_now
from app.db.tables import Job

ACTIVE = frozenset(state for state in JobState if not state.is_terminal)
CLAIMED = frozenset({JobState.RUNNING, JobState.CANCELLING})


def sources(target: JobState) -> frozenset[JobState]:
    """Return the states from which a job may become `target`."""
    return frozenset(state for state, targets in TRANSITIONS.items() if target in targets)


def move(
    session: Session,
    job_id: UUID,
    target: JobState,
    *conditions: ColumnElement[bool],
    only_from: frozenset[JobState] | None = None,
    token: str | None = None,
    **values: Any,
) -> bool:
    """Bring a job to `target`, and set `values` with it; return whether that happened.

    Does not commit. Rows that the session holds already are not refreshed.

    Args:
        *conditions: What must still be true of the row besides.
        only_from: Narrows the states that `TRANSITIONS` allows.
        token: The claim that must still hold the job; None where the caller acts from outside.
    """
    allowed = sources(target) if only_from is None else sources(target) & only_from
    query = update(Job).where(Job.id == job_id, Job.state.in_(sorted(allowed)), *conditions)
    if token is not None:
        query = query.where(Job.claim_token == token)
    query = query.values(state=target, **_follows(target) | values).execution_options(synchronize_session=False)
    return session.execute(query.returning(Job.id)).first() is not None


def _follows(target: JobState) -> dict[str, Any]:
    """Return what is true of every job that has just come to this state."""
    nobody = {"claim_token": None, "worker_pid": None, "worker_host": None, "heartbeat_at": None}
    if target is JobState.QUEUED:
        return nobody | {"fraction": 0.0, "stage": "", "sent_at": None}
    if target is JobState.CANCELLING:
        return {"stop_asked_at": utc_now()}
    if target.is_terminal:
        return nobody | {"ended_at": utc_now()}
    return {}
