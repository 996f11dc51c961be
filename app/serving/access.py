"""Who may call which endpoint, remembered for a second.

Every prediction asks the same question; asking the database each time would cost more than the request's own work.
An answer is kept for `REMEMBER_S`, so a revoked key, a paused endpoint or a new threshold takes effect within that time
in every process, and at once in the process where it was changed. Refusals are never remembered. Under load one call
asks anew shortly before an answer ends, so that not all of them do when it has.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import service as account_service
from app.accounts.permissions import Action, Actor
from app.contracts.bundle import BundleManifest
from app.core.errors import NotAuthenticated, NotFound, PermissionDenied
from app.core.ids import secret_hash
from app.db.session import new_session
from app.db.tables import Deployment, ModelVersion
from app.projects import service as project_service

REMEMBER_S = 1.0
_RENEW_AFTER_S = 0.75
_MOST_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a call needs to know of a deployment, free of any session."""

    id: UUID
    project_id: int
    name: str
    is_active: bool
    threshold: float
    model_id: UUID
    bundle_key: str
    manifest: BundleManifest


@dataclass(frozen=True, slots=True)
class Access:
    """Leave to call `endpoint`. `is_key_use_due`: the key's `last_used_at` is old enough to be worth a write."""

    actor: Actor
    endpoint: Endpoint
    is_key_use_due: bool


@dataclass(slots=True)
class _Remembered:
    access: Access
    renew_at: float
    until: float


class AccessCache:
    """Answers of `check`, by key hash and endpoint. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, UUID], _Remembered] = {}
        self._generation = 0

    def find(self, key: str, endpoint_id: UUID) -> Access | None:
        """Return a remembered, fresh answer, or None: the caller checks. Never touches the database."""
        found = self._entries.get((secret_hash(key), endpoint_id))
        now = self._clock()
        if found is None or found.until <= now:
            return None
        if found.renew_at <= now:
            found.renew_at = found.until  # the others need not check as well
            return None
        return found.access

    def check(self, key: str, endpoint_id: UUID) -> Access:
        """Ask the database, and remember the answer where it is yes. Raises as `check_access` does."""
        generation = self._generation
        asked_at = self._clock()
        with new_session() as session:
            access = check_access(session, key, endpoint_id)
        with self._lock:
            # Somebody changed an endpoint or a key while we looked: what we saw may be the old state.
            if generation == self._generation:
                if len(self._entries) >= _MOST_REMEMBERED:
                    self._entries.clear()
                self._entries[secret_hash(key), endpoint_id] = _Remembered(
                    access, asked_at + _RENEW_AFTER_S, asked_at + REMEMBER_S
                )
        return access

    def forget(self, endpoint_id: UUID | None = None) -> None:
        """Drop what is remembered of one endpoint, or of all."""
        with self._lock:
            self._generation += 1
            self._entries = {
                name: entry
                for name, entry in self._entries.items()
                if endpoint_id is not None and name[1] != endpoint_id
            }


def check_access(session: Session, key: str, endpoint_id: UUID) -> Access:
    """Return leave to call an endpoint with a key.

    Raises:
        NotAuthenticated: The key is unknown, revoked, expired, or its person is deactivated.
        PermissionDenied: The key belongs to another endpoint, or may not predict.
        NotFound: No such endpoint, or the key's person may not see its project.
    """
    found = account_service.find_actor_by_key(session, key)
    if found is None:
        raise unauthorized()
    actor, row = found
    if actor.deployment_id is not None and actor.deployment_id != endpoint_id:
        raise PermissionDenied("This key belongs to another endpoint.", errorCode="FORBIDDEN")
    actor.require(Action.PREDICT)
    return Access(actor, find_endpoint(session, actor, endpoint_id), account_service.is_last_used_stale(row))


def find_endpoint(session: Session, actor: Actor, endpoint_id: UUID) -> Endpoint:
    """Return an endpoint that `actor` may call. Raises `NotFound` where there is none."""
    found = session.execute(
        select(Deployment, ModelVersion)
        .join(ModelVersion, ModelVersion.id == Deployment.model_id)
        .where(Deployment.id == endpoint_id, Deployment.deleted_at.is_(None))
    ).one_or_none()
    if found is None:
        raise no_such_endpoint()
    deployment, model = found
    try:
        project_service.get_for(session, actor=actor, project_id=deployment.project_id, action=Action.PREDICT)
    except NotFound:
        raise no_such_endpoint() from None
    return Endpoint(
        id=deployment.id,
        project_id=deployment.project_id,
        name=deployment.name,
        is_active=deployment.is_active,
        threshold=deployment.threshold,
        model_id=model.id,
        bundle_key=model.bundle_key,
        manifest=BundleManifest.model_validate(model.manifest),
    )


def no_such_endpoint() -> NotFound:
    """Return the 404 of an endpoint that does not exist, or not for the asker."""
    return NotFound("There is no such endpoint.")


def unauthorized() -> NotAuthenticated:
    """Return the 401 of the wire contract: `errorCode` and `data` are what the published clients print."""
    return NotAuthenticated("Send a valid API key in the header `apikey`.", errorCode="UNAUTHORIZED", data={})


_cache = AccessCache()


def cache() -> AccessCache:
    """Return the cache of this process."""
    return _cache


def forget(endpoint_id: UUID) -> None:
    """Drop what this process remembers of an endpoint."""
    _cache.forget(endpoint_id)


def forget_all() -> None:
    """Drop everything that this process remembers: a key or a person changed."""
    _cache.forget()
