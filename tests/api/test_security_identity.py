"""Who somebody is, and that nobody becomes somebody else: sessions, rates, forged requests, extra members of a body."""

import stat
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts import service as account_service
from app.accounts.permissions import Actor, Role
from app.db.session import new_session, transaction
from app.db.tables import ApiKey, LoginAttempt, Project, User, UserSession
from app.main import all_routes
from app.settings import Settings
from tests import factories

CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


def _sign_in(client: TestClient, email: str, password: str = factories.PASSWORD, **kwargs: Any) -> Any:
    return client.post("/signin", data={"email": email, "password": password}, **kwargs)


def test_a_token_planted_before_sign_in_is_worth_nothing_after_it(anonymous: TestClient, owner: Actor) -> None:
    """Session fixation: the token is made at sign-in, whatever the browser brought."""
    anonymous.cookies.set("kizu_session", "planted")
    answer = _sign_in(anonymous, owner.email)
    token = answer.cookies["kizu_session"]
    assert token != "planted"
    assert len(token) >= 43  # 256 bits
    with TestClient(anonymous.app, follow_redirects=False, cookies={"kizu_session": "planted"}) as attacker:
        assert attacker.get("/projects").status_code == 303


def test_a_new_password_ends_every_other_sign_in_and_makes_a_new_token(
    browser_as: Callable[[Actor], TestClient], owner: Actor
) -> None:
    mine, other = browser_as(owner), browser_as(owner)
    before = mine.cookies["kizu_session"]
    form = {"current": factories.PASSWORD, "new": "an even longer password"}
    assert mine.post("/settings/account/password", data=form).status_code == 200
    assert mine.cookies["kizu_session"] != before
    assert mine.get("/projects").status_code == 200
    assert other.get("/projects").status_code == 303


def test_the_cookie_is_for_this_host_and_out_of_reach_of_scripts(anonymous: TestClient, owner: Actor) -> None:
    anonymous.base_url = "https://testserver"
    cookie = _sign_in(anonymous, owner.email).headers["set-cookie"]
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie.lower()


def test_guessing_many_accounts_from_one_address_is_stopped(anonymous: TestClient, owner: Actor) -> None:
    with transaction() as session:
        session.add_all(
            LoginAttempt(email=f"{n}@example.com", address="testclient")
            for n in range(account_service.MAX_FAILURES_PER_ADDRESS)
        )
    answer = _sign_in(anonymous, owner.email)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_the_address_that_is_counted_is_not_one_that_the_caller_writes(anonymous: TestClient, owner: Actor) -> None:
    """A header from anybody but the proxy is not believed; uvicorn rewrites the address where the peer is trusted."""
    for n in range(3):
        _sign_in(
            anonymous, owner.email, "wrong", headers={"X-Forwarded-For": f"10.0.0.{n}", "X-Real-IP": f"10.0.0.{n}"}
        )
    with new_session() as session:
        assert set(session.scalars(select(LoginAttempt.address))) == {"testclient"}


def test_a_good_sign_in_forgets_the_failures_of_this_account_alone(anonymous: TestClient, owner: Actor) -> None:
    _sign_in(anonymous, owner.email, "wrong")
    _sign_in(anonymous, "other@example.com", "wrong")
    assert _sign_in(anonymous, owner.email).status_code == 303
    with new_session() as session:
        assert list(session.scalars(select(LoginAttempt.email))) == ["other@example.com"]


def test_there_is_no_secret_with_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is signed, so there is no signing key; every password and key of the settings is empty until given."""
    for name, field in Settings.model_fields.items():
        if any(word in name for word in ("password", "secret", "key")):
            assert field.default is None, name


def test_a_short_password_for_the_first_owner_stops_the_start(database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.core.errors import Invalid

    monkeypatch.setattr(account_service, "get_settings", lambda: Settings(admin_password="admin"))
    with pytest.raises(Invalid), transaction() as session:
        account_service.ensure_owner(session)


def test_the_first_owner_gets_a_random_password(database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_service, "get_settings", lambda: Settings(admin_password=None))
    with transaction() as session:
        password = account_service.ensure_owner(session)
    assert password is not None
    assert len(password) == 19
    with transaction() as session:
        assert account_service.ensure_owner(session) is None


# --- forged requests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"name": "x"}},
        {"json": {"name": "x"}},
        {"files": {"files": ("a.png", factories.picture_bytes(), "image/png")}},
        {"content": b"name=x", "headers": {"Content-Type": "text/plain"}},
    ],
    ids=["form", "json", "upload", "text"],
)
@pytest.mark.parametrize(
    "extra", [{}, {"HX-Request": "true"}, {"X-Requested-With": "kizu"}], ids=["", "htmx", "script"]
)
def test_a_cross_site_request_is_refused_in_every_shape(
    app: FastAPI, browser: TestClient, body: dict[str, Any], extra: dict[str, str]
) -> None:
    """Also uploads, htmx and our own scripts' header: none of them is a way past the check."""
    for route in all_routes(app):
        if route.path.startswith(("/v1", "/inference")) or not route.methods & CHANGING:
            continue
        path = route.path
        for name in route.param_convertors:
            path = path.replace("{" + name + "}", "1")
        headers = {**body.get("headers", {}), **extra, "Sec-Fetch-Site": "cross-site"}
        answer = browser.request(next(iter(route.methods & CHANGING)), path, **{**body, "headers": headers})
        assert answer.status_code == 403, route.path
    with new_session() as session:
        assert session.scalars(select(Project)).first() is None


def test_no_page_changes_anything_by_being_read(app: FastAPI) -> None:
    """A link or an image on another site sends cookies with a GET: each changing route has a method of its own."""
    for route in all_routes(app):
        if route.methods & {"GET", "HEAD"}:
            assert not route.methods & CHANGING, route.path


def test_the_cookie_opens_no_route_that_skips_the_check(app: FastAPI, browser: TestClient) -> None:
    """Routes for programs are not asked where a request comes from, for no browser sends their key by itself."""
    for route in all_routes(app):
        if route.path.startswith(("/v1", "/inference")):
            path = route.path
            for name in route.param_convertors:
                path = path.replace("{" + name + "}", "1")
            for method in route.methods & CHANGING:
                assert browser.request(method, path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 401, path


# --- more than one may -----------------------------------------------------------------------------------------------

POWERS = {
    "id": "1",
    "role": "owner",
    "is_active": "true",
    "isActive": True,
    "user_id": "1",
    "created_by_id": "1",
    "createdById": 1,
    "deleted_at": "",
    "project_id": "999",
    "key_hash": "x",
    "password_hash": "x",
    "deployment_id": "x",
    "must_change_password": "false",
}


def test_a_profile_form_gives_nobody_another_role(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient]
) -> None:
    """CVE-2026-23526: members of a form that it does not have are not read."""
    viewer = people[Role.VIEWER]
    client = browser_as(viewer)
    form = {**POWERS, "current": factories.PASSWORD, "new": "an even longer password"}
    assert client.post("/settings/account/password", data=form).status_code == 200
    for path in (f"/settings/people/{viewer.user_id}", "/settings/people"):
        assert client.post(path, data={**POWERS, "email": "a@b.c", "name": "x"}).status_code == 403
    with new_session() as session:
        user = session.get(User, viewer.user_id)
        assert (user.role, user.email) == (Role.VIEWER, viewer.email)


def test_extra_members_of_a_body_change_nothing_else(
    people: dict[Role, Actor], program_as: Callable[[Actor], TestClient]
) -> None:
    program = program_as(people[Role.MEMBER])
    extra = {**POWERS, "name": "P", "projectType": "classification", "isInviteOnly": True}
    created = program.post("/v1/projects", json=extra).json()["data"]
    url = f"/v1/projects/{created['id']}"
    program.put(url, json={**POWERS, "name": "Q"})
    program.post(f"{url}/classes", json={"0": {**POWERS, "name": "c", "index": 7}})
    program.post(f"{url}/tags", json={**POWERS, "name": "t", "orgId": 9})
    with new_session() as session:
        project = session.get(Project, created["id"])
        assert (project.name, project.created_by_id, project.is_invite_only) == (
            "Q", people[Role.MEMBER].user_id, False,
        )  # fmt: skip
        assert [category.index for category in project.categories] == [0]


def test_an_administrator_makes_no_owner_and_touches_none(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient]
) -> None:
    client = browser_as(people[Role.ADMIN])
    owner_id, admin_id = people[Role.OWNER].user_id, people[Role.ADMIN].user_id
    assert client.post("/settings/people", data={"email": "n@b.c", "name": "N", "role": "owner"}).status_code == 403
    for user_id in (owner_id, admin_id, people[Role.MEMBER].user_id):
        assert client.post(f"/settings/people/{user_id}", data={"role": "owner"}).status_code == 403
    assert client.post(f"/settings/people/{owner_id}", data={"is_active": "false"}).status_code == 403
    assert client.post(f"/settings/people/{owner_id}/password").status_code == 403
    with new_session() as session:
        roles = {user.id: (user.role, user.is_active) for user in session.scalars(select(User))}
    assert roles[owner_id] == (Role.OWNER, True)
    assert roles[admin_id] == (Role.ADMIN, True)


def test_a_key_makes_no_keys_and_opens_no_settings(program: TestClient) -> None:
    assert program.post("/settings/keys", data={"name": "x", "role": "viewer", "days": ""}).status_code == 303
    with new_session() as session:
        assert len(list(session.scalars(select(ApiKey)))) == 1


@pytest.mark.parametrize(
    "key", ["", "land_sk_", "land_sk_" + "x" * 300, "land_sk_\0", "x" * 48, "LAND_SK_abc", "land_sk_%"]
)
def test_what_is_no_key_is_no_key(anonymous: TestClient, owner: Actor, key: str) -> None:
    factories.make_key(owner)
    raw = [(b"apikey", key.encode("latin-1"))]
    assert anonymous.get("/v1/projects", headers=raw).status_code == 401


def test_a_session_of_somebody_switched_off_ends_at_once(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient]
) -> None:
    client = browser_as(people[Role.MEMBER])
    with transaction() as session:
        session.get(User, people[Role.MEMBER].user_id).is_active = False
        assert session.scalars(select(UserSession)).first() is not None
    assert client.get("/projects").status_code == 303


def test_the_private_redis_asks_for_a_password_and_listens_on_no_port(tmp_path: Any) -> None:
    from app.supervisor.private_redis import RECORD_NAME, plan

    redis = plan(tmp_path)
    lines = redis.config().decode().splitlines()
    assert "port 0" in lines
    assert "unixsocketperm 600" in lines
    assert f"requirepass {redis.password}" in lines
    assert len(redis.password) >= 32
    assert stat.S_IMODE((tmp_path / RECORD_NAME).stat().st_mode) == 0o600
    assert plan(tmp_path).password != redis.password


def test_no_file_of_the_repository_looks_like_a_secret() -> None:
    from app.settings import ROOT

    done = subprocess.run(
        ["git", "grep", "-nIE", r"land_sk_[A-Za-z0-9_-]{30,}|BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    hits = [line for line in done.stdout.splitlines() if "test_security_identity.py" not in line]
    assert not hits
