"""Background work, and what it said while it ran."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, IntId, UuidId


class Job(Base):
    """One unit of queued work. This row, not the message, decides whether and how often the work is done.

    `claim_token` names the attempt that holds the job; an attempt that lost it (the reaper gave the job back) can no
    longer write.
    """

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_state_heartbeat", "state", "heartbeat_at"),
        Index("ix_job_project", "project_id", "created_at"),
    )

    id: Mapped[UuidId]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(12), default="queued")
    spec: Mapped[dict[str, Any]]
    dataset_version_id: Mapped[int | None] = mapped_column(ForeignKey("dataset_version.id"))
    stage: Mapped[str] = mapped_column(String(60), default="")
    message: Mapped[str] = mapped_column(Text, default="")
    fraction: Mapped[float] = mapped_column(default=0.0)
    error_id: Mapped[str | None] = mapped_column(String(40))
    n_attempts: Mapped[int] = mapped_column(default=0)
    claim_token: Mapped[str | None] = mapped_column(String(40))
    worker_pid: Mapped[int | None]
    worker_host: Mapped[str | None] = mapped_column(String(200))
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[CreatedAt]
    sent_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    stop_asked_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class JobEvent(Base):
    """One thing a job said: a stage begun, a point of a curve, a line of the log.

    `payload` is a contract of `app.contracts.jobs`; `kind` is `progress`, `metric`, `comparison` or `log`.
    """

    __tablename__ = "job_event"
    __table_args__ = (Index("ix_job_event_job", "job_id", "id"),)

    id: Mapped[IntId]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    at: Mapped[CreatedAt]
    kind: Mapped[str] = mapped_column(String(10))
    payload: Mapped[dict[str, Any]]
