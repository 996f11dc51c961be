"""Everything is denied unless granted: each route is walked, anonymous and in every role."""

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from app.accounts.permissions import GRANTS, Actor, Role
from app.main import PUBLIC_ROUTES, all_routes, check_permissions, granted_action
from tests import factories

KEYED = ("/v1/", "/inference/")
SOME_UUID = "00000000-0000-4000-8000-000000000000"


def guarded_routes(app: FastAPI) -> Iterator[tuple[APIRoute, str, str]]:
    """Give every guarded route with one of its methods and a path to nothing."""
    for route in all_routes(app):
        if route.name in PUBLIC_ROUTES:
            continue
        path = route.path
        for name, convertor in route.param_convertors.items():
            kind = route.endpoint.__annotations__.get(name)
            value = SOME_UUID if "UUID" in str(kind) else "999999"
            path = path.replace("{" + name + "}", value).replace("{" + f"{name}:{convertor}" + "}", value)
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            yield route, method, path


def test_anonymous_callers_reach_nothing(app: FastAPI, anonymous: TestClient) -> None:
    checked = 0
    for route, method, path in guarded_routes(app):
        answer = anonymous.request(method, path)
        if path.startswith(KEYED) or route.path in {"/v1/projects"}:
            assert answer.status_code == 401, (method, path)
            assert "WWW-Authenticate" in answer.headers, (method, path)
        else:
            assert answer.status_code == 303, (method, path, answer.text[:200])
            assert answer.headers["location"].startswith("/signin"), (method, path)
        checked += 1
    assert checked > 60


@pytest.mark.parametrize("role", list(Role))
def test_each_role_is_refused_what_it_is_not_granted(
    app: FastAPI,
    people: dict[Role, Actor],
    browser_as: Callable[[Actor], TestClient],
    program_as: Callable[[Actor], TestClient],
    role: Role,
) -> None:
    """A route whose action the role lacks answers 403 before it looks at anything else."""
    page_client, program_client = browser_as(people[role]), program_as(people[role])
    for route, method, path in guarded_routes(app):
        if route.name == "accounts.sign_out":
            continue
        client = program_client if path.startswith(KEYED) else page_client
        is_granted = granted_action(route) in GRANTS[role]
        status = client.request(method, path).status_code
        assert (status != 403) if is_granted else (status == 403), (role, method, path, status)


def test_a_key_for_one_endpoint_opens_nothing_else(app: FastAPI, anonymous: TestClient, owner: Actor) -> None:
    from app.accounts.permissions import Action

    narrow = Actor(owner.user_id, owner.name, owner.email, owner.role, deployment_id=owner.user_id)  # any id will do
    assert [action for action in Action if narrow.may(action)] == [Action.PREDICT]


def test_the_application_refuses_to_start_with_an_open_route() -> None:
    app = FastAPI()

    @app.get("/open")
    def open_route() -> None: ...

    with pytest.raises(RuntimeError, match="open_route"):
        check_permissions(app)


def test_nothing_here_reads_the_path_from_the_host_header(anonymous: TestClient) -> None:
    """CVE-2026-48710: a forged Host must not make a guarded path look like a public one."""
    answer = anonymous.get("/projects", headers={"Host": "testserver/signin?"})
    assert answer.status_code in {303, 400}
    assert "Projects" not in answer.text


def test_every_answer_carries_the_security_headers(browser: TestClient, anonymous: TestClient, owner: Actor) -> None:
    project = factories.make_project(owner)
    for client, path in (
        (anonymous, "/signin"),
        (browser, "/projects"),
        (browser, f"/projects/{project.id}/settings"),
        (browser, "/nothing"),
        (anonymous, "/v1/projects"),
    ):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "unsafe-inline" not in policy
        assert "unsafe-eval" not in policy
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(browser: TestClient) -> None:
    answer = browser.post("/projects", content=b"x", headers={"Content-Length": str(10**13)})
    assert answer.status_code == 413


def test_a_fault_of_ours_says_an_id_and_nothing_more(
    app: FastAPI, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What broke is in the log under the id, and nowhere in the answer."""
    from app.projects import queries

    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("SELECT secret FROM somewhere")

    monkeypatch.setattr(queries, "list_cards", broken)
    with TestClient(app, raise_server_exceptions=False, cookies=browser.cookies) as client:
        answer = client.get("/projects")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "in the log as" in answer.text
