"""What routes are given: a session, and somebody who may act."""

from collections.abc import Callable, Iterator
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.accounts import service as account_service
from app.accounts.permissions import Action, Actor
from app.core.clock import utc_now
from app.core.errors import NotAuthenticated, NotFound, PasswordChangeRequired
from app.db.session import new_session, transaction
from app.db.tables import ApiKey

SESSION_COOKIE = "kizu_session"
# Named for the OpenAPI description; `find_api_actor` reads the header itself.
_KEY_HEADER = APIKeyHeader(name="apikey", scheme_name="ApiKey", description="`land_sk_…`", auto_error=False)
_PASSWORD_CHANGE_PATHS = frozenset({"/settings/account", "/settings/account/password", "/signout"})
MAX_ID = 2**31 - 1
READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def get_session(request: Request) -> Iterator[Session]:
    """Give the request's one session; commit before the answer leaves, roll back when the handler raises.

    Raises:
        NotFound: A number in the address is beyond every id. PostgreSQL would end the transaction over it.
    """
    if any(value.isdecimal() and _is_beyond_ids(value) for value in request.path_params.values()):
        raise NotFound("There is nothing at this address.")
    with new_session(writes=request.method not in READING_METHODS) as session:
        try:
            yield session
        except BaseException:
            session.rollback()
            raise
        session.commit()


def _is_beyond_ids(digits: str) -> bool:
    return len(digits) > 4000 or int(digits) > MAX_ID  # int() refuses longer ones


SessionDep = Annotated[Session, Depends(get_session, scope="function")]


def find_page_actor(request: Request) -> Actor | None:
    """Return the signed-in person, or None."""
    token = request.cookies.get(SESSION_COOKIE)
    if not token:
        return None
    with new_session() as session:
        row = account_service.find_session(session, token)
    if row is None:
        return None
    if account_service.is_renewal_due(row):
        with transaction() as session:
            account_service.renew_session(session, row)
    return account_service.actor_of(row.user)


def find_api_actor(request: Request) -> Actor | None:
    """Return who the `apikey` header (or `Authorization: Bearer`) acts for, or None."""
    key = request.headers.get("apikey") or _bearer(request.headers.get("authorization", ""))
    if not key:
        return None
    with new_session() as session:
        found = account_service.find_actor_by_key(session, key)
    if found is None:
        return None
    actor, row = found
    if account_service.is_last_used_stale(row):
        with transaction() as session:
            session.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=utc_now()))
    return actor


def _bearer(header: str) -> str | None:
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def page_actor(action: Action) -> Callable[[Request], Actor]:
    """Return the dependency of a page: a signed-in person whose role grants `action`."""

    def dependency(request: Request) -> Actor:
        actor = find_page_actor(request)
        if actor is None:
            raise NotAuthenticated("Sign in to go on.")
        if actor.must_change_password and request.scope["path"] not in _PASSWORD_CHANGE_PATHS:
            raise PasswordChangeRequired("Choose your own password first, under Settings.")
        actor.require(action)
        request.state.actor = actor
        return actor

    dependency.grants = action  # type: ignore[attr-defined]  # read by the test that walks all routes
    return dependency


def api_actor(action: Action) -> Callable[[Request], Actor]:
    """Return the dependency of a REST route: an API key that grants `action`. Cookies count for nothing there."""

    def dependency(request: Request, _key: Annotated[str | None, Security(_KEY_HEADER)] = None) -> Actor:
        actor = find_api_actor(request)
        if actor is None:
            raise NotAuthenticated("Send a valid API key in the header `apikey`.")
        actor.require(action)
        request.state.actor = actor
        return actor

    dependency.grants = action  # type: ignore[attr-defined]  # read by the test that walks all routes
    return dependency
