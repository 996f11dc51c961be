"""Sign-in, people, roles and keys."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts import service as account_service
from app.accounts.permissions import Actor, Role
from app.core.clock import utc_now
from app.db.session import new_session, transaction
from app.db.tables import ApiKey, User, UserSession
from tests import factories


def test_nobody_gets_in_without_signing_in(anonymous: TestClient) -> None:
    answer = anonymous.get("/projects?x=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/signin?next=%2Fprojects%3Fx%3D1"


def test_sign_in_leads_back_to_where_one_wanted_to_go(anonymous: TestClient, owner: Actor) -> None:
    form = {"email": owner.email.upper(), "password": factories.PASSWORD, "next": "/projects?x=1"}
    answer = anonymous.post("/signin", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/projects?x=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert anonymous.get("/projects").status_code == 200


def test_cookie_is_secure_over_https(anonymous: TestClient, owner: Actor) -> None:
    anonymous.base_url = "https://testserver"
    answer = anonymous.post("/signin", data={"email": owner.email, "password": factories.PASSWORD})
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "/\tx"]
)
def test_sign_in_never_leads_away(anonymous: TestClient, owner: Actor, target: str) -> None:
    form = {"email": owner.email, "password": factories.PASSWORD, "next": target}
    assert anonymous.post("/signin", data=form).headers["location"] == "/projects"


def test_wrong_password_and_unknown_person_get_the_same_answer(anonymous: TestClient, owner: Actor) -> None:
    wrong = anonymous.post("/signin", data={"email": owner.email, "password": "not the password"})
    unknown = anonymous.post("/signin", data={"email": "nobody@example.com", "password": "not the password"})
    assert wrong.status_code == unknown.status_code == 401
    assert "is not right" in wrong.text
    assert "is not right" in unknown.text


def test_guessing_is_stopped_even_for_the_right_password(anonymous: TestClient, owner: Actor) -> None:
    for _ in range(account_service.MAX_FAILURES_PER_EMAIL):
        assert anonymous.post("/signin", data={"email": owner.email, "password": "guess"}).status_code == 401
    answer = anonymous.post("/signin", data={"email": owner.email, "password": factories.PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_signing_out_ends_the_session_on_the_server(browser: TestClient) -> None:
    token = browser.cookies["kizu_session"]
    assert browser.post("/signout").status_code == 303
    browser.cookies.set("kizu_session", token)
    assert browser.get("/projects").status_code == 303


def test_an_expired_session_is_no_session(browser: TestClient) -> None:
    with transaction() as session:
        session.scalars(select(UserSession)).one().expires_at = utc_now() - timedelta(seconds=1)
    assert browser.get("/projects").status_code == 303


def test_no_secret_is_stored_in_the_clear(browser: TestClient, owner: Actor) -> None:
    key = factories.make_key(owner)
    with new_session() as session:
        rows = [session.scalars(select(table)).one() for table in (User, UserSession, ApiKey)]
        stored = " ".join(str(value) for row in rows for value in vars(row).values())
        assert rows[0].password_hash.startswith("$argon2id$")
    assert factories.PASSWORD not in stored
    assert browser.cookies["kizu_session"] not in stored
    assert key not in stored


def test_there_is_no_self_registration(anonymous: TestClient) -> None:
    for path in ("/signup", "/register", "/user/signup"):
        assert anonymous.get(path).status_code == 404


def test_a_person_added_by_an_administrator_signs_in_with_the_password_shown_once(
    browser: TestClient, anonymous: TestClient
) -> None:
    form = {"email": "New@Example.com", "name": "<b>Ada</b>", "role": "labeler"}
    page = browser.post("/settings/people", data=form).text
    password = page.split('id="new-password">')[1].split("<")[0]
    assert "<b>Ada</b>" not in page
    assert password not in browser.get("/settings/people").text
    assert anonymous.post("/signin", data={"email": "new@example.com", "password": password}).status_code == 303


def test_the_same_email_twice_is_refused_and_nothing_else_is_lost(browser: TestClient, owner: Actor) -> None:
    form = {"email": owner.email, "name": "Second", "role": "viewer"}
    answer = browser.post("/settings/people", data=form)
    assert answer.status_code == 409
    assert "There is an account with this email already." in answer.text
    assert 'value="Second"' in answer.text


def test_whoever_was_given_a_password_chooses_their_own_before_anything_else(
    browser: TestClient, anonymous: TestClient
) -> None:
    form = {"email": "new@example.com", "name": "Ada", "role": "member"}
    given = browser.post("/settings/people", data=form).text.split('id="new-password">')[1].split("<")[0]
    anonymous.headers["Sec-Fetch-Site"] = "same-origin"
    anonymous.post("/signin", data={"email": "new@example.com", "password": given})
    refused = anonymous.get("/projects")
    assert (refused.status_code, refused.headers["location"]) == (303, "/settings/account")
    partial = anonymous.get("/projects", headers={"HX-Request-Type": "partial"})
    assert (partial.status_code, partial.headers["hx-redirect"]) == (403, "/settings/account")
    assert "Choose your own password first" in anonymous.get("/settings/account").text
    changed = anonymous.post("/settings/account/password", data={"current": given, "new": "my very own password"})
    assert changed.status_code == 200
    assert anonymous.get("/projects").status_code == 200


def test_a_sign_in_in_use_lasts_on_and_an_idle_one_ends(browser: TestClient) -> None:
    def expires_at():
        with new_session() as session:
            return session.scalars(select(UserSession)).one().expires_at

    at_first = expires_at()
    assert browser.get("/projects").status_code == 200
    assert expires_at() == at_first, "a write for each request would be wasteful"
    with transaction() as session:
        session.scalars(select(UserSession)).one().expires_at = utc_now() + timedelta(days=1)
    assert browser.get("/projects").status_code == 200
    assert expires_at() > utc_now() + timedelta(days=13)


@pytest.mark.parametrize("role", [Role.MEMBER, Role.LABELER, Role.VIEWER])
def test_only_administrators_manage_people(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient], role: Role
) -> None:
    client = browser_as(people[role])
    assert client.get("/settings/people").status_code == 403
    form = {"email": "x@example.com", "name": "X", "role": "owner"}
    assert client.post("/settings/people", data=form).status_code == 403
    assert client.post(f"/settings/people/{people[role].user_id}", data={"role": "owner"}).status_code == 403
    with new_session() as session:
        assert session.get(User, people[role].user_id).role == role


def test_an_admin_cannot_rise_to_owner_nor_touch_one(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient]
) -> None:
    admin, owner = people[Role.ADMIN], people[Role.OWNER]
    client = browser_as(admin)
    assert client.post(f"/settings/people/{admin.user_id}", data={"role": "owner"}).status_code == 403
    assert client.post(f"/settings/people/{people[Role.MEMBER].user_id}", data={"role": "owner"}).status_code == 403
    assert client.post(f"/settings/people/{owner.user_id}", data={"is_active": "false"}).status_code == 403
    assert client.post(f"/settings/people/{owner.user_id}/password").status_code == 403
    form = {"email": "x@example.com", "name": "X", "role": "owner"}
    assert client.post("/settings/people", data=form).status_code == 403


def test_profile_forms_take_no_more_than_they_show(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient]
) -> None:
    member = people[Role.MEMBER]
    client = browser_as(member)
    form = {
        "current": factories.PASSWORD,
        "new": "another long password",
        "role": "owner",
        "is_active": "true",
        "id": "1",
    }
    assert client.post("/settings/account/password", data=form).status_code == 200
    with new_session() as session:
        assert session.get(User, member.user_id).role == Role.MEMBER


def test_changing_the_password_ends_other_sign_ins(owner: Actor, browser_as: Callable[[Actor], TestClient]) -> None:
    first, second = browser_as(owner), browser_as(owner)
    form = {"current": factories.PASSWORD, "new": "another long password"}
    assert first.post("/settings/account/password", data=form).status_code == 200
    assert first.get("/projects").status_code == 200
    assert second.get("/projects").status_code == 303


def test_a_short_password_and_a_wrong_current_one_are_said_at_their_fields(browser: TestClient) -> None:
    short = browser.post("/settings/account/password", data={"current": factories.PASSWORD, "new": "short"})
    assert short.status_code == 422
    assert "at least 10 characters" in short.text
    wrong = browser.post("/settings/account/password", data={"current": "x", "new": "another long password"})
    assert wrong.status_code == 422
    assert "not your current password" in wrong.text


def test_switching_somebody_off_ends_their_sign_in_and_their_keys(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient], program_as: Callable[[Actor], TestClient]
) -> None:
    member = people[Role.MEMBER]
    admin_client, client, program = browser_as(people[Role.ADMIN]), browser_as(member), program_as(member)
    assert program.get("/v1/projects").status_code == 200
    admin_client.post(f"/settings/people/{member.user_id}", data={"is_active": "false"})
    assert client.get("/projects").status_code == 303
    assert program.get("/v1/projects").status_code == 401


def test_a_key_is_shown_once_and_works_until_it_is_revoked(browser: TestClient, anonymous: TestClient) -> None:
    page = browser.post("/settings/keys", data={"name": "Line 3", "role": "viewer", "days": ""}).text
    key = page.split('id="new-key">')[1].split("<")[0]
    assert key.startswith("land_sk_")
    assert key not in browser.get("/settings/keys").text
    assert anonymous.get("/v1/projects", headers={"apikey": key}).status_code == 200
    assert anonymous.get("/v1/projects", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    with new_session() as session:
        row = session.scalars(select(ApiKey)).one()
        assert row.last_used_at is not None
    assert browser.post(f"/settings/keys/{row.id}/revoke").status_code == 303
    assert anonymous.get("/v1/projects", headers={"apikey": key}).status_code == 401


def test_an_expired_key_is_no_key(anonymous: TestClient, owner: Actor) -> None:
    key = factories.make_key(owner, expires_at=utc_now() + timedelta(hours=1))
    assert anonymous.get("/v1/projects", headers={"apikey": key}).status_code == 200
    with transaction() as session:
        session.scalars(select(ApiKey)).one().expires_at = utc_now() - timedelta(seconds=1)
    assert anonymous.get("/v1/projects", headers={"apikey": key}).status_code == 401


def test_a_key_never_grants_more_than_its_maker_has_now(people: dict[Role, Actor], anonymous: TestClient) -> None:
    member = people[Role.MEMBER]
    key = factories.make_key(member)
    project = {"name": "P", "projectType": "classification"}
    assert anonymous.post("/v1/projects", headers={"apikey": key}, json=project).status_code == 201
    with transaction() as session:
        session.get(User, member.user_id).role = Role.VIEWER
    assert anonymous.post("/v1/projects", headers={"apikey": key}, json=project).status_code == 403


def test_nobody_makes_a_key_above_their_role(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient]
) -> None:
    client = browser_as(people[Role.MEMBER])
    assert client.post("/settings/keys", data={"name": "x", "role": "admin", "days": ""}).status_code == 403


def test_nobody_revokes_somebody_elses_key(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient]
) -> None:
    factories.make_key(people[Role.OWNER])
    with new_session() as session:
        key_id = session.scalars(select(ApiKey.id)).one()
    assert browser_as(people[Role.MEMBER]).post(f"/settings/keys/{key_id}/revoke").status_code == 404


def test_a_cookie_opens_no_rest_route_and_a_key_no_page(browser: TestClient, program: TestClient) -> None:
    assert browser.get("/v1/projects").status_code == 401
    assert program.get("/projects").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_requests_from_other_sites_change_nothing(app, browser: TestClient, headers: dict[str, str]) -> None:
    """Every route that changes something for a cookie refuses a cross-site request, whatever it is."""
    from app.main import all_routes

    browser.headers.pop("Sec-Fetch-Site")
    checked = 0
    for route in all_routes(app):
        if route.path.startswith(("/v1", "/inference")) or not route.methods & {"POST", "PUT", "PATCH", "DELETE"}:
            continue
        path = route.path
        for name in route.param_convertors:
            path = path.replace("{" + name + "}", "1")
        method = next(iter(route.methods & {"POST", "PUT", "PATCH", "DELETE"}))
        assert browser.request(method, path, headers=headers).status_code == 403, route.path
        checked += 1
    assert checked >= 5
