"""People, their sign-ins, API keys, and the record of what was done."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, CreatedAt, IntId, Name, UuidId


class User(Base):
    """A person of the one organisation. Never deleted, only deactivated: what they did keeps their name."""

    __tablename__ = "user_account"

    id: Mapped[IntId]
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[Name]
    role: Mapped[str] = mapped_column(String(20))
    password_hash: Mapped[str] = mapped_column(String(200))
    is_active: Mapped[bool] = mapped_column(default=True)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[CreatedAt]
    last_seen_at: Mapped[datetime | None]


class UserSession(Base):
    """A sign-in, held on the server; the browser has a random token whose hash is here."""

    __tablename__ = "user_session"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    user: Mapped[User] = relationship(lazy="joined")


class ApiKey(Base):
    """A key for programs. Acts as the person who made it, with no more than `role`.

    A key with a `deployment_id` predicts with that deployment and does nothing else.
    """

    __tablename__ = "api_key"

    id: Mapped[UuidId]
    name: Mapped[Name]
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    last_four: Mapped[str] = mapped_column(String(4))
    role: Mapped[str] = mapped_column(String(20))
    deployment_id: Mapped[UUID | None] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), index=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined")


class LoginAttempt(Base):
    """A failed sign-in, kept for as long as the rate limit looks back."""

    __tablename__ = "login_attempt"
    __table_args__ = (Index("ix_login_attempt_email_at", "email", "at"),)

    id: Mapped[IntId]
    email: Mapped[str] = mapped_column(String(254))
    address: Mapped[str] = mapped_column(String(64), index=True)
    at: Mapped[CreatedAt]


class AuditEvent(Base):
    """One line of what was done by whom. Only ever added to."""

    __tablename__ = "audit_event"

    id: Mapped[IntId]
    at: Mapped[CreatedAt]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    action: Mapped[str] = mapped_column(String(60), index=True)
    subject: Mapped[str] = mapped_column(String(200))
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
