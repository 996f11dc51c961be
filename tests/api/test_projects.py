"""Projects, classes, tags and metadata fields over both edges."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from app.accounts.permissions import Actor, Role
from app.contracts.tasks import TaskType
from app.db.session import transaction
from app.projects import service as project_service
from tests import factories


def test_a_project_is_created_in_one_form(browser: TestClient) -> None:
    answer = browser.post("/projects", data={"name": "  Housings   line 3 ", "task": "classification"})
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("/data")
    page = browser.get("/projects").text
    assert "Housings line 3" in page


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\x00b", "a\nb"])
def test_a_bad_name_is_said_and_creates_nothing(browser: TestClient, name: str) -> None:
    answer = browser.post("/projects", data={"name": name, "task": "classification"})
    assert answer.status_code == 422
    assert "cards" not in browser.get("/projects").text


def test_a_type_that_cannot_be_trained_yet_is_said(program: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_service, "SUPPORTED_TASKS", frozenset({TaskType.CLASSIFICATION}))
    answer = program.post("/v1/projects", json={"name": "Boxes", "projectType": "segmentation"})
    assert answer.status_code == 422
    assert "cannot be created yet" in answer.json()["message"]


def test_project_over_rest_has_the_contracts_shape(program: TestClient) -> None:
    answer = program.post("/v1/projects", json={"name": "Housings", "projectType": "classification"})
    assert answer.status_code == 201
    data = answer.json()["data"]
    assert data.keys() == {"id", "name", "projectType", "isActive", "createdAt"}
    assert program.get(f"/v1/projects/{data['id']}?timeout=60").json() == {"data": data}
    assert (
        program.put(f"/v1/projects/{data['id']}/active", json={"isActive": False}).json()["data"]["isActive"] is False
    )
    assert program.get("/v1/projects").json()["data"][0]["id"] == data["id"]
    assert program.delete(f"/v1/projects/{data['id']}").status_code == 200
    assert program.get(f"/v1/projects/{data['id']}").status_code == 404


def test_classes_over_rest_keep_their_order(program: TestClient, owner: Actor) -> None:
    project = factories.make_project(owner, categories=())
    body = {"1": {"name": "scratch", "description": "long"}, "0": {"name": "OK"}}
    created = program.post(f"/v1/projects/{project.id}/classes", json=body).json()["data"]
    assert [(c["index"], c["name"], c["isGood"]) for c in created] == [(0, "OK", True), (1, "scratch", False)]
    assert program.post(f"/v1/projects/{project.id}/classes", json={"0": {"name": "OK"}}).status_code == 409
    assert program.post(f"/v1/projects/{project.id}/classes", json={"x": {"name": "y"}}).status_code == 422
    change = program.put(
        f"/v1/projects/{project.id}/classes/{created[1]['id']}", json={"isGood": True, "color": "#AABBCC"}
    )
    assert (change.json()["data"]["isGood"], change.json()["data"]["color"]) == (True, "#aabbcc")
    listed = program.get(f"/v1/projects/{project.id}/classes").json()["data"]
    assert [c["isGood"] for c in listed] == [False, True], "at most one class is good"
    assert program.delete(f"/v1/projects/{project.id}/classes/{created[0]['id']}").status_code == 200


def test_a_class_that_only_deleted_images_carry_can_be_removed(program: TestClient, owner: Actor) -> None:
    project = factories.make_project(owner)
    base = f"/v1/projects/{project.id}"
    kept, removed = program.get(f"{base}/classes").json()["data"]
    ids = [
        program.post(
            f"{base}/images", files={"file": ("a.png", factories.picture_bytes(seed))}, data={"label": name}
        ).json()["data"]["id"]
        for seed, name in enumerate([removed["name"], removed["name"], kept["name"]])
    ]
    assert program.delete(f"{base}/images", params={"id": [ids[0], ids[2]]}).status_code == 200
    refused = program.delete(f"{base}/classes/{removed['id']}")
    assert (refused.status_code, refused.json()["count"]) == (409, 1)
    assert program.delete(f"{base}/images/{ids[1]}").status_code == 200
    assert program.delete(f"{base}/classes/{removed['id']}").status_code == 200
    assert program.post(f"{base}/images/restore", json={"mediaIds": ids}).json()["data"]["count"] == 3
    labels = [program.get(f"{base}/images/{image_id}").json()["data"]["className"] for image_id in ids]
    assert labels == [None, None, kept["name"]]


def test_tags_and_metadata_fields_over_rest(program: TestClient, owner: Actor) -> None:
    project = factories.make_project(owner)
    base = f"/v1/projects/{project.id}"
    tag = program.post(f"{base}/tags", json={"name": "night shift"}).json()["data"]
    assert tag.keys() == {"id", "name", "orgId", "isArchived", "createdAt", "updatedAt", "color"}
    assert program.post(f"{base}/tags", json={"name": "night shift"}).status_code == 409
    assert program.post(f"{base}/tags/{tag['id']}", json={"name": "late"}).json()["data"]["name"] == "late"
    assert program.delete(f"{base}/tags/{tag['id']}").status_code == 200
    field = {"name": "station", "type": "text", "allowMultiple": False, "predefinedChoices": ["A"]}
    made = program.post(f"{base}/metadata", json=field).json()["data"]
    assert made == {**field, "id": made["id"], "valueFlexible": True}
    change = {"name": "cell", "predefinedChoicesAppend": ["A", "B"], "valueFlexible": False}
    changed = program.post(f"{base}/metadata/{made['id']}", json=change).json()["data"]
    assert (changed["name"], changed["predefinedChoices"], changed["valueFlexible"]) == ("cell", ["A", "B"], False)
    assert program.post(f"{base}/metadata", json={"name": "x", "type": "date"}).status_code == 422


def test_things_of_another_project_are_not_found(program: TestClient, owner: Actor) -> None:
    mine, other = factories.make_project(owner, "Mine"), factories.make_project(owner, "Other")
    category = program.get(f"/v1/projects/{other.id}/classes").json()["data"][0]
    tag = program.post(f"/v1/projects/{other.id}/tags", json={"name": "t"}).json()["data"]
    field = program.post(f"/v1/projects/{other.id}/metadata", json={"name": "f"}).json()["data"]
    base = f"/v1/projects/{mine.id}"
    assert program.put(f"{base}/classes/{category['id']}", json={"name": "x"}).status_code == 404
    assert program.delete(f"{base}/classes/{category['id']}").status_code == 404
    assert program.post(f"{base}/tags/{tag['id']}", json={"name": "x"}).status_code == 404
    assert program.delete(f"{base}/tags/{tag['id']}").status_code == 404
    assert program.post(f"{base}/metadata/{field['id']}", json={"name": "x"}).status_code == 404


def test_an_invite_only_project_does_not_exist_for_others(
    people: dict[Role, Actor], program_as: Callable[[Actor], TestClient], browser_as: Callable[[Actor], TestClient]
) -> None:
    project = factories.make_project(people[Role.OWNER])
    with transaction() as session:
        invited = [people[Role.LABELER].user_id]
        project_service.set_invite_only(session, actor=people[Role.OWNER], project_id=project.id, user_ids=invited)
    outsider, insider, admin = (program_as(people[role]) for role in (Role.MEMBER, Role.LABELER, Role.ADMIN))
    assert outsider.get(f"/v1/projects/{project.id}").status_code == 404
    assert outsider.get("/v1/projects").json()["data"] == []
    assert insider.get(f"/v1/projects/{project.id}").status_code == 200
    assert admin.get(f"/v1/projects/{project.id}").status_code == 200
    assert project.name not in browser_as(people[Role.MEMBER]).get("/projects").text
    assert project.name in browser_as(people[Role.LABELER]).get("/projects").text


@pytest.mark.parametrize(
    ("role", "status"),
    [(Role.OWNER, 201), (Role.ADMIN, 201), (Role.MEMBER, 201), (Role.LABELER, 403), (Role.VIEWER, 403)],
)
def test_who_may_create_projects(
    people: dict[Role, Actor], program_as: Callable[[Actor], TestClient], role: Role, status: int
) -> None:
    answer = program_as(people[role]).post("/v1/projects", json={"name": "P", "projectType": "classification"})
    assert answer.status_code == status


def test_a_members_project_is_deleted_by_them_or_an_administrator_only(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient]
) -> None:
    project = factories.make_project(people[Role.OWNER])
    assert browser_as(people[Role.MEMBER]).post(f"/projects/{project.id}/delete").status_code == 403
    assert browser_as(people[Role.ADMIN]).post(f"/projects/{project.id}/delete").status_code == 303


def test_names_are_shown_as_text(browser: TestClient) -> None:
    name = "<img src=x onerror=alert(1)>\"'&"
    browser.post("/projects", data={"name": name, "task": "classification"})
    page = browser.get("/projects").text
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_the_list_costs_three_statements_however_long(browser: TestClient, owner: Actor, count_statements) -> None:
    for number in range(5):
        factories.make_project(owner, f"Project {number}")
    with count_statements() as counted:
        assert browser.get("/projects").status_code == 200
    assert counted.n <= 3, counted.statements


def test_the_switcher_lists_projects(browser: TestClient, owner: Actor) -> None:
    project = factories.make_project(owner, "Housings")
    page = browser.get(f"/projects/menu?current={project.id}").text
    assert "Housings" in page
    assert 'aria-current="true"' in page
