"""Sign-in, people and keys, for people."""

from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from app.accounts import service as account_service
from app.accounts.permissions import RANK, Action, Actor, Role
from app.core.clock import utc_now
from app.core.errors import AppError
from app.settings import get_settings
from app.web.deps import SESSION_COOKIE, SessionDep, find_page_actor, page_actor
from app.web.rendering import render

router = APIRouter(include_in_schema=False)

IsViewer = Depends(page_actor(Action.VIEW))
Viewer = Annotated[Actor, IsViewer]
PeopleManager = Annotated[Actor, Depends(page_actor(Action.MANAGE_PEOPLE))]
KeyOwner = Annotated[Actor, Depends(page_actor(Action.OWN_KEYS))]

_KEY_LIFETIMES = (("", "never"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"))


@router.get("/", name="home", dependencies=[IsViewer])
def home() -> Response:
    return RedirectResponse("/projects", status_code=303)


# --- sign-in ---------------------------------------------------------------------------------------------------------


@router.get("/signin", name="accounts.sign_in_form")
def sign_in_form(request: Request, next: str = "/projects") -> Response:  # noqa: A002  the address people see
    if find_page_actor(request) is not None:
        return RedirectResponse(_local_path(next), status_code=303)
    return _sign_in_page(request, target=next)


@router.post("/signin", name="accounts.sign_in")
def sign_in(
    request: Request,
    session: SessionDep,
    email: Annotated[str, Form(max_length=254)],
    password: Annotated[str, Form(max_length=1000)],
    next: Annotated[str, Form(max_length=2000)] = "/projects",  # noqa: A002  the address people see
) -> Response:
    """Open a session; a wrong password shows the form again and is counted."""
    address = request.client.host if request.client else ""
    try:
        token = account_service.sign_in(session, email=email, password=password, address=address)
    except AppError as error:
        return _sign_in_page(request, target=next, email=email, error=error)
    answer = RedirectResponse(_local_path(next), status_code=303)
    _set_cookie(request, answer, token)
    return answer


@router.post("/signout", name="accounts.sign_out", dependencies=[IsViewer])
def sign_out(request: Request, session: SessionDep) -> Response:
    account_service.sign_out(session, token=request.cookies[SESSION_COOKIE])
    answer = RedirectResponse("/signin", status_code=303)
    answer.delete_cookie(SESSION_COOKIE)
    return answer


# --- settings --------------------------------------------------------------------------------------------------------


@router.get("/settings", name="accounts.settings")
def settings(actor: Viewer) -> Response:
    target = "/settings/people" if actor.may(Action.MANAGE_PEOPLE) else "/settings/account"
    return RedirectResponse(target, status_code=303)


@router.get("/settings/account", name="accounts.account", dependencies=[IsViewer])
def account(request: Request) -> Response:
    return _account_page(request)


@router.post("/settings/account/password", name="accounts.change_password")
def change_password(
    request: Request,
    actor: Viewer,
    session: SessionDep,
    current: Annotated[str, Form(max_length=1000)],
    new: Annotated[str, Form(max_length=1000)],
) -> Response:
    """Replace the password; every other sign-in of this person ends."""
    try:
        token = account_service.change_own_password(session, actor=actor, current=current, new=new)
    except AppError as error:
        return _account_page(request, error=error)
    answer = _account_page(request, saved=True)
    _set_cookie(request, answer, token)
    return answer


@router.get("/settings/people", name="accounts.people")
def people(request: Request, actor: PeopleManager, session: SessionDep) -> Response:
    return _people_page(request, actor, session)


@router.post("/settings/people", name="accounts.add_person")
def add_person(
    request: Request,
    actor: PeopleManager,
    session: SessionDep,
    email: Annotated[str, Form(max_length=254)],
    name: Annotated[str, Form(max_length=400)],
    role: Annotated[Role, Form()],
) -> Response:
    """Create an account and show its generated password, this once."""
    try:
        with session.begin_nested():
            user, password = account_service.add_person(session, actor=actor, email=email, name=name, role=role)
    except AppError as error:
        entered = {"email": email, "name": name, "role": role}
        return _people_page(request, actor, session, error=error, entered=entered)
    return _people_page(request, actor, session, shown=(user.email, password))


@router.post("/settings/people/{user_id}", name="accounts.change_person")
def change_person(
    actor: PeopleManager,
    session: SessionDep,
    user_id: int,
    role: Annotated[Role | None, Form()] = None,
    is_active: Annotated[bool | None, Form()] = None,
) -> Response:
    account_service.change_person(session, actor=actor, user_id=user_id, role=role, is_active=is_active)
    return RedirectResponse("/settings/people", status_code=303)


@router.post("/settings/people/{user_id}/password", name="accounts.reset_password")
def reset_password(request: Request, actor: PeopleManager, session: SessionDep, user_id: int) -> Response:
    user, password = account_service.reset_password(session, actor=actor, user_id=user_id)
    return _people_page(request, actor, session, shown=(user.email, password))


@router.get("/settings/keys", name="accounts.keys")
def keys(request: Request, actor: KeyOwner, session: SessionDep) -> Response:
    return _keys_page(request, actor, session)


@router.post("/settings/keys", name="accounts.create_key")
def create_key(
    request: Request,
    actor: KeyOwner,
    session: SessionDep,
    name: Annotated[str, Form(max_length=400)],
    role: Annotated[Role, Form()],
    days: Annotated[int | None, Form(ge=1, le=3650)] = None,
) -> Response:
    """Create an API key and show it, this once."""
    expires_at = utc_now() + timedelta(days=days) if days else None
    try:
        row, key = account_service.create_key(session, actor=actor, name=name, role=role, expires_at=expires_at)
    except AppError as error:
        return _keys_page(request, actor, session, error=error)
    return _keys_page(request, actor, session, shown=(row.name, key))


@router.post("/settings/keys/{key_id}/revoke", name="accounts.revoke_key")
def revoke_key(actor: KeyOwner, session: SessionDep, key_id: UUID) -> Response:
    account_service.revoke_key(session, actor=actor, key_id=key_id)
    return RedirectResponse("/settings/keys", status_code=303)


# --- details ---------------------------------------------------------------------------------------------------------


def field_errors(error: AppError) -> dict[str, str]:
    """Return an error as sentences by field; the sentence that belongs to no field is under the empty name."""
    listed = {item["pointer"].strip("/"): item["detail"] for item in getattr(error, "errors", [])}
    return listed or {"": error.detail}


def roles_up_to(role: Role) -> list[Role]:
    """Return the roles that somebody with `role` may give, from most to least."""
    return [other for other in Role if RANK[other] <= RANK[role]]


def _sign_in_page(request: Request, *, target: str, email: str = "", error: AppError | None = None) -> Response:
    return render(
        request,
        "pages/accounts/signin.html",
        status=error.status if error else 200,
        headers=error.headers if error else None,
        next=_local_path(target),
        email=email,
        problem=error.detail if error else None,
    )


def _settings_page(request: Request, template: str, *, error: AppError | None = None, **context: Any) -> Response:
    """Render a page with a form; an `error` gives the status and its sentences."""
    status, errors = (error.status, field_errors(error)) if error else (200, {})
    return render(request, template, status=status, nav="settings", errors=errors, **context)


def _account_page(request: Request, *, error: AppError | None = None, saved: bool = False) -> Response:
    return _settings_page(request, "pages/accounts/account.html", error=error, saved=saved)


def _people_page(
    request: Request,
    actor: Actor,
    session: SessionDep,
    *,
    error: AppError | None = None,
    shown: tuple[str, str] | None = None,
    entered: dict[str, str] | None = None,
) -> Response:
    return _settings_page(
        request,
        "pages/accounts/people.html",
        error=error,
        people=account_service.list_people(session, actor=actor),
        roles=roles_up_to(actor.role),
        ranks=RANK,
        shown=shown,
        entered=entered or {"email": "", "name": "", "role": Role.LABELER},
    )


def _keys_page(
    request: Request,
    actor: Actor,
    session: SessionDep,
    *,
    error: AppError | None = None,
    shown: tuple[str, str] | None = None,
) -> Response:
    return _settings_page(
        request,
        "pages/accounts/keys.html",
        error=error,
        keys=account_service.list_keys(session, actor=actor),
        roles=roles_up_to(actor.role),
        lifetimes=_KEY_LIFETIMES,
        base_url=get_settings().public_url or str(request.base_url).rstrip("/"),
        shown=shown,
    )


def _local_path(target: str) -> str:
    """Return `target` where it is a path of this site, else the list of projects: no open redirect."""
    parts = urlsplit(target)
    is_local = not parts.scheme and not parts.netloc and target.startswith("/") and target[1:2] not in {"/", "\\"}
    return target if is_local and not any(ord(c) < 33 for c in target) else "/projects"


def _set_cookie(request: Request, answer: Response, token: str) -> None:
    settings_ = get_settings()
    secure = settings_.cookie_secure
    answer.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=settings_.session_days * 86_400,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https" if secure is None else secure,
    )
