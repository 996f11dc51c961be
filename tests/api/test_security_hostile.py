"""No value that a caller may send makes a fault of ours: each parameter of each route gets hostile ones in turn.

The routes and their parameters are found by walking the application, so that a new one is held to this from its first
day. What is refused is refused with a status below 500, on SQLite and on PostgreSQL alike.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.accounts.permissions import Actor
from app.core import passwords
from app.db.session import transaction
from app.db.tables import MetadataField
from app.main import PUBLIC_ROUTES, all_routes
from tests import factories
from tests.api.test_other_projects import Foreign, foreign, request_for, value_of  # noqa: F401  a fixture

NUL = "a\0b"
HOSTILE_TEXT = [NUL, "x" * 70_000, "\U0001f4a5" * 300, "\u202e\u2066\u200b"]
HOSTILE_NUMBERS = ["2147483648", "1" + "0" * 40, "-1", "nan", "1e400", "\u0661"]
HOSTILE_IDS = ["2147483648", "1" + "0" * 40, "-1", NUL, "..%2f..%2fetc%2fpasswd"]
HOSTILE_QUERIES = [
    "2147483648",
    "1" + "0" * 40,
    "-1",
    "nan",
    "inf",
    "0001-01-01",
    "9999-12-31",
    NUL,
    "x" * 3000,
    "' OR 1=1",
]
# As JSON text: what no Python client would write is written by hand.
HOSTILE_JSON = [
    '"a\\u0000b"',
    '"\\ud800"',
    '{"\\ud800": "x", "a\\u0000b": 1}',
    "NaN",
    "1e400",
    "2147483648",
    "1" + "0" * 400,
    "-1",
    "null",
    "[]",
    '"' + "x" * 70_000 + '"',
    "[" * 500 + "]" * 500,
    "[9223372036854775808]",
    '{"f": "\\u0000"}',
    '{"f": "\\ud800"}',
    '{"n": 1' + "0" * 400 + "}",
    '{"n": Infinity}',
]
# Routes that end the caller's own access; a hostile value for them is tested by name below.
LEFT_OUT = {"accounts.sign_out"}


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    # The walks make hundreds of accounts; what a password costs is tested with the accounts.
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def lenient(app: FastAPI, browser: TestClient, program: TestClient) -> Iterator[dict[str, TestClient]]:
    """The two clients, answering 500 for a fault as a server would instead of raising it into the test."""
    clients = {
        name: TestClient(
            app, raise_server_exceptions=False, follow_redirects=False, headers=client.headers, cookies=client.cookies
        )
        for name, client in (("page", browser), ("rest", program))
    }
    with clients["page"], clients["rest"]:  # entered, they keep one loop for all requests
        yield clients


def walk(app: FastAPI) -> list[tuple[APIRoute, str]]:
    """Return every guarded route with each of its methods; what deletes comes last, so that there is something left."""
    found = [
        (route, method)
        for route in all_routes(app)
        for method in sorted(route.methods - {"HEAD", "OPTIONS"})
        if route.name not in PUBLIC_ROUTES | LEFT_OUT
    ]
    return sorted(found, key=lambda item: ("delete" in item[0].name or item[1] == "DELETE", item[0].path, item[1]))


def address(route: APIRoute, ids: dict[str, Any], **changed: str) -> str:
    path = route.path
    for name in route.param_convertors:
        path = path.replace("{" + name + "}", changed.get(name, str(ids.get(name, 1))))
    return path


def send(clients: dict[str, TestClient], route: APIRoute, method: str, path: str, **request: Any) -> Any:
    is_rest = path.startswith(("/v1/", "/inference/"))
    return clients["rest" if is_rest else "page"].request(method, path, **request)


def _what_broke(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", answer.text).split())[-160:]


class Faults:
    """Collects the answers of 500 and above."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.checked = 0

    def look(self, answer: Any, what: str) -> None:
        self.checked += 1
        # 503 and 507 say that something outside is not there; nothing here may bring that about either.
        if answer.status_code >= 500:
            self.found.append(
                f"{answer.request.method} {answer.request.url.path[:120]} {what[:90]}: {_what_broke(answer)}"
            )

    def none(self, at_least: int) -> None:
        assert not self.found, f"{len(self.found)} faults\n" + "\n".join(self.found[:40])
        assert self.checked >= at_least


@pytest.fixture
def ids(foreign: Foreign) -> dict[str, Any]:  # noqa: F811
    with transaction() as session:
        session.add(MetadataField(project_id=foreign.project_id, name="n", type="number", predefined_choices=[]))
    return {**foreign.ids, "project_id": foreign.project_id, "user_id": 999}


def test_no_identifier_in_an_address_is_a_fault(
    app: FastAPI, lenient: dict[str, TestClient], ids: dict[str, Any]
) -> None:
    faults = Faults()
    for route, method in walk(app):
        request = request_for(route)
        for name in route.param_convertors:
            for value in HOSTILE_IDS:
                path = address(route, ids, **{name: quote(value, safe="%")})
                faults.look(send(lenient, route, method, path, **request), f"{name}={value!r}")
    faults.none(700)


def test_no_query_parameter_is_a_fault(app: FastAPI, lenient: dict[str, TestClient], ids: dict[str, Any]) -> None:
    faults = Faults()
    # Read by hand from the address, so no signature names them.
    grid = "class split labelled tag predicted wrong unsure model q sort since meta.1 cursor"
    by_hand = {
        "images.data": grid.split(),
        "images.more": grid.split(),
        "serving.monitor": [
            "endpoint",
            "class",
            "answer",
            "low",
            "high",
            "station",
            "period",
            "since",
            "until",
            "cursor",
        ],
    }
    for route, method in walk(app):
        if method != "GET":
            continue
        names = {p.alias for p in route.dependant.query_params} | set(by_hand.get(route.name, ()))
        required = request_for(route).get("params") or {}
        for name in sorted(names):
            for value in HOSTILE_QUERIES:
                answer = send(lenient, route, method, address(route, ids), params={**required, name: value})
                faults.look(answer, f"{name}={value!r}")
    faults.none(300)


def _form_fields(route: APIRoute) -> Iterator[str]:
    for param in route.dependant.body_params:
        if type(param.field_info).__name__ == "Form":
            yield param.alias


def test_no_form_field_is_a_fault(app: FastAPI, lenient: dict[str, TestClient], ids: dict[str, Any]) -> None:
    faults = Faults()
    for route, method in walk(app):
        for name in _form_fields(route):
            request = request_for(route)
            for value in [*HOSTILE_TEXT, *HOSTILE_NUMBERS]:
                form = {**(request.get("data") or {}), name: value}
                answer = send(lenient, route, method, address(route, ids), **{**request, "data": form})
                faults.look(answer, f"{name}={value!r}")
    faults.none(200)


def _json_members(body: Any) -> Iterator[tuple[str, ...]]:
    """Give the path of every member of a good body, and of the body itself."""
    yield ()
    if isinstance(body, dict):
        for name, value in body.items():
            yield from ((name, *rest) for rest in _json_members(value))


def _with(body: Any, path: tuple[str, ...], mark: str) -> Any:
    if not path:
        return mark
    changed = copy.deepcopy(body)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = mark
    return changed


def _good_body(route: APIRoute) -> Any:
    """Return a body with every member that the route reads, also those that may be left out."""
    body = request_for(route).get("json")
    for param in route.dependant.body_params:
        model = param.field_info.annotation
        if hasattr(model, "model_fields"):
            every = {f.alias or n: value_of(f.annotation, n) for n, f in model.model_fields.items()}
            body = {**every, **(body or {})}
    return body


def test_no_json_member_is_a_fault(app: FastAPI, lenient: dict[str, TestClient], ids: dict[str, Any]) -> None:
    faults = Faults()
    for route, method in walk(app):
        good = _good_body(route)
        if good is None or "files" in {k for k, v in request_for(route).items() if v}:
            continue
        for path in _json_members(good):
            for hostile in HOSTILE_JSON:
                text = json.dumps(_with(good, path, "@@")).replace('"@@"', hostile)
                answer = send(
                    lenient, route, method, address(route, ids), content=text,
                    headers={"Content-Type": "application/json"},
                )  # fmt: skip
                faults.look(answer, f"{'/'.join(path)}={hostile}")
    faults.none(500)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b"{"),
        ("application/json", b"\xff\xfe"),
        ("application/json", b'"\xed\xa0\x80"'),
        ("application/json", b"[" * 100_000),
        ("application/json; charset=utf-16", b"{}"),
        ("application/x-www-form-urlencoded", b"%ff%fe=%ff&name=%ed%a0%80"),
        ("application/x-www-form-urlencoded", b"a=1&" * 5000),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n'),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\xff\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=" + "b" * 5000, b"--b"),
        ("", b"\0" * 100),
    ],
)  # fmt: skip
def test_no_body_is_a_fault(
    app: FastAPI, lenient: dict[str, TestClient], ids: dict[str, Any], content_type: str, content: bytes
) -> None:
    faults = Faults()
    for route, method in walk(app):
        if method in {"POST", "PUT", "PATCH"}:
            headers = {"Content-Type": content_type}
            answer = send(lenient, route, method, address(route, ids), content=content, headers=headers)
            faults.look(answer, f"{content_type[:60]} {content[:20]!r}")
    faults.none(40)


FILTERS = ["class", "split", "labelled", "tag", "predicted", "wrong", "unsure", "model", "q", "sort", "since", "meta.1"]
FILTERS += ["cursor", "image", "endpoint", "answer", "low", "high", "station", "period", "until", "category__name"]
VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["none", "1", "-1", "yes", "newest", "unsure", "1e9", "nan", "W10", "WzFd", "W251bGxd", "2026-01-01"]
    ),
    st.integers().map(str),
    st.floats().map(str),
)


def test_filters_and_orders_come_from_a_list(lenient: dict[str, TestClient], ids: dict[str, Any]) -> None:
    """Whatever stands in the address, it is used as what is allowed, or refused; never handed to the database."""
    paths = [f"/projects/{ids['project_id']}/{part}" for part in ("data", "data/more", "label", "monitor")]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.sampled_from(paths), st.lists(st.tuples(st.sampled_from(FILTERS), VALUES), max_size=5))
    def ask(path: str, pairs: list[tuple[str, str]]) -> None:
        params = [(name, value.encode("utf-8", "replace").decode()) for name, value in pairs]
        assert lenient["page"].get(path, params=params).status_code < 500

    ask()


@pytest.mark.parametrize("header", ["apikey", "authorization", "cookie", "if-none-match", "x-event", "hx-request-type"])
def test_no_header_is_a_fault(anonymous: TestClient, owner: Actor, header: str) -> None:
    project = factories.make_project(owner)
    for value in [
        "",
        "\xff\xfe",
        "a\x01b",
        "x" * 60_000,
        "Bearer ",
        "Bearer land_sk_\xe9",
        "kizu_session=\xe9",
        "land_sk_",
    ]:
        raw = [(header.encode(), value.encode("latin-1"))]
        for path in ("/v1/projects", f"/v1/projects/{project.id}", "/projects", "/signin"):
            assert anonymous.get(path, headers=raw).status_code < 500, (header, value[:20], path)
        answer = anonymous.post("/inference/v1/predict?endpoint_id=x", headers=raw)
        assert answer.status_code < 500, (header, value[:20])


# --- faults that the walks above found, by their symptom -------------------------------------------------------------


def test_a_class_renamed_to_a_taken_name_while_it_is_marked_good_is_a_conflict(
    program: TestClient, owner: Actor
) -> None:
    project = factories.make_project(owner)
    first, second = program.get(f"/v1/projects/{project.id}/classes").json()["data"]
    url = f"/v1/projects/{project.id}/classes/{second['id']}"
    assert program.put(url, json={"name": first["name"], "isGood": True}).status_code == 409
    assert program.put(url, json={"name": second["name"], "isGood": True}).status_code == 200


def test_a_project_is_not_closed_to_somebody_who_does_not_exist(browser: TestClient, owner: Actor) -> None:
    project = factories.make_project(owner)
    url = f"/projects/{project.id}/access"
    assert browser.post(url, data={"is_invite_only": "true", "user_ids": ["999"]}).status_code == 422
    assert browser.post(url, data={"is_invite_only": "true", "user_ids": [str(owner.user_id)]}).status_code == 303


def test_a_number_of_four_hundred_digits_is_no_metadata(program: TestClient, owner: Actor, ids: dict[str, Any]) -> None:
    url = f"/v1/projects/{ids['project_id']}/images/{ids['image_id']}/metadata"
    for number in ("1" + "0" * 400, "NaN", "-Infinity"):
        headers = {"Content-Type": "application/json"}
        answer = program.post(url, content=f'{{"metadata": {{"n": {number}}}}}', headers=headers)
        assert answer.status_code in {400, 422}, answer.text


def test_half_of_a_character_in_the_name_of_a_field_is_answered_in_words(
    program: TestClient, ids: dict[str, Any]
) -> None:
    url = f"/v1/projects/{ids['project_id']}/images/{ids['image_id']}/metadata"
    headers = {"Content-Type": "application/json"}
    answer = program.post(url, content=b'{"metadata": {"\\ud800": "x"}}', headers=headers)
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


def test_the_last_day_of_the_calendar_is_no_filter(browser: TestClient, ids: dict[str, Any]) -> None:
    monitor = f"/projects/{ids['project_id']}/monitor"
    assert browser.get(monitor, params={"until": "9999-12-31"}).status_code == 422
    assert browser.get(monitor, params={"until": "9999-12-30"}).status_code == 200


def test_a_period_of_millennia_draws_no_bar_for_each_of_their_months(browser: TestClient, ids: dict[str, Any]) -> None:
    monitor = f"/projects/{ids['project_id']}/monitor"
    for period in ({"until": "9999-12-30"}, {"since": "0001-01-01"}, {"since": "0001-01-01", "until": "9999-12-30"}):
        assert len(browser.get(monitor, params=period).content) < 200_000


def test_a_model_whose_images_are_all_gone_still_has_a_page(browser: TestClient, ids: dict[str, Any]) -> None:
    assert browser.get(f"/projects/{ids['project_id']}/models/{ids['model_id']}").status_code == 200


def test_what_a_database_cannot_hold_is_refused_alike_on_every_one(program: TestClient, owner: Actor) -> None:
    project = factories.make_project(owner)
    url = f"/v1/projects/{project.id}"
    assert program.get(f"/v1/projects/{2**31}").status_code == 404
    assert program.get(f"/v1/projects/{2**63}").status_code == 404
    assert program.delete(f"{url}/images", params={"id": [2**31]}).status_code in {404, 422}
    assert program.delete(f"{url}/images", params={"id": [2**63]}).status_code == 422
    class_id = program.get(f"{url}/classes").json()["data"][0]["id"]
    assert program.put(f"{url}/classes/{class_id}", json={"description": "a\0b"}).status_code == 422
    assert program.post(f"{url}/metadata", json={"name": "f", "predefinedChoices": ["a\0b"]}).status_code == 422
    # A backslash and what looks like an escape are ordinary characters.
    answer = program.post(f"{url}/metadata", json={"name": "g", "predefinedChoices": ["a\\u0000b"]})
    assert answer.json()["data"]["predefinedChoices"] == ["a\\u0000b"]


def test_an_answer_about_a_fault_of_ours_carries_the_security_headers(
    lenient: dict[str, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.projects import queries

    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(queries, "list_cards", broken)
    answer = lenient["page"].get("/projects")
    assert answer.status_code == 500
    refused = lenient["page"].post("/projects", headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    for headers in (answer.headers, refused.headers):
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
