"""What jobs say while they run: written by whoever acts on them, read after a cursor by whoever watches."""

import json
import math
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.contracts.jobs import Comparison, JobEventPayload, LogLine, MetricPoint, Progress
from app.core.clock import utc_now
from app.db.tables import JobEvent

_KINDS: dict[type, str] = {
    Progress: "progress",
    MetricPoint: "metric",
    Comparison: "comparison",
    LogLine: "log",
}
_TYPES: dict[str, Any] = {kind: payload for payload, kind in _KINDS.items()}
_LONGEST_TEXT = 2000


def add(session: Session, job_id: UUID, payloads: Iterable[JobEventPayload]) -> None:
    """Store events in their order. Does not commit."""
    now = utc_now()
    rows = [
        {"job_id": job_id, "at": now, "kind": _KINDS[type(payload)], "payload": content}
        for payload in payloads
        if (content := _content(payload)) is not None
    ]
    if rows:
        session.execute(insert(JobEvent), rows)


def add_log(session: Session, job_id: UUID, text: str, level: str = "info") -> None:
    """Store one line of the log. Does not commit."""
    add(session, job_id, [LogLine(text=text, level=level)])  # type: ignore[arg-type]  # checked by the contract itself


def payload_of(event: JobEvent) -> JobEventPayload:
    return _TYPES[event.kind].model_validate(event.payload)


def _content(payload: JobEventPayload) -> dict[str, Any] | None:
    """Return the payload as every database stores it, or None where it says nothing: a point that is not a number.

    PostgreSQL takes neither NaN nor NUL in JSON: undefined scores become null, control characters go.
    """
    if isinstance(payload, MetricPoint) and not (math.isfinite(payload.x) and math.isfinite(payload.y)):
        return None
    content = json.loads(payload.model_dump_json())
    if isinstance(payload, LogLine):
        content["text"] = content["text"][:_LONGEST_TEXT]
    return {name: value.replace("\0", "") if isinstance(value, str) else value for name, value in content.items()}
