"""Deployments over REST: the wire's shapes, who may do what, and what a change means."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts.permissions import Actor, Role
from app.db.session import new_session
from app.db.tables import AuditEvent, ModelVersion
from tests import factories, model_support
from tests.serving_support import Served


@pytest.fixture
def path(served: Served) -> str:
    return f"/v1/projects/{served.project.id}/deployments"


@pytest.fixture
def second_model(served: Served, tmp_path: Path) -> ModelVersion:
    return model_support.train_model(
        served.project, served.actor, tmp_path / "second", name="Second", threshold=0.25, strength=1e-2
    )


def test_a_deployment_has_the_wires_members(program: TestClient, served: Served, path: str):
    made = program.post(path, json={"name": " Line 4 ", "modelId": str(served.model.id), "threshold": 0.75})
    assert made.status_code == 201
    data = made.json()["data"]
    assert set(data) == {"id", "predictionUrl", "name", "modelId", "threshold", "isActive"}
    assert (data["name"], data["modelId"], data["threshold"]) == ("Line 4", str(served.model.id), 0.75)
    assert data["predictionUrl"] == f"http://testserver/inference/v1/predict?endpoint_id={data['id']}"
    assert program.get(f"{path}/{data['id']}").json() == {"data": data}
    assert [item["name"] for item in program.get(path).json()["data"]] == ["Line 3", "Line 4"]


def test_without_a_threshold_the_models_own_is_taken(program: TestClient, second_model: ModelVersion, path: str):
    data = program.post(path, json={"name": "Line 5", "modelId": str(second_model.id)}).json()["data"]
    assert data["threshold"] == 0.25


def test_a_new_model_without_a_threshold_brings_its_own(
    program: TestClient, served: Served, second_model: ModelVersion, path: str
):
    item = f"{path}/{served.deployment.id}"
    assert program.put(item, json={"threshold": 0.9}).json()["data"]["threshold"] == 0.9
    changed = program.put(item, json={"modelId": str(second_model.id)}).json()["data"]
    assert (changed["modelId"], changed["threshold"]) == (str(second_model.id), 0.25)
    both = program.put(item, json={"modelId": str(served.model.id), "threshold": 0.6}).json()["data"]
    assert (both["modelId"], both["threshold"]) == (str(served.model.id), 0.6)
    same = program.put(item, json={"modelId": str(served.model.id)}).json()["data"]
    assert same["threshold"] == 0.6


def test_a_change_of_nothing_is_refused(program: TestClient, served: Served, path: str):
    assert program.put(f"{path}/{served.deployment.id}", json={}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"name": "", "modelId": str(uuid4())},
        {"name": "x" * 81, "modelId": str(uuid4())},
        {"name": "x", "modelId": str(uuid4())},
        {"name": "x", "modelId": "model"},
        {"name": "x", "modelId": str(uuid4()), "threshold": 1.5},
    ],
)
def test_what_cannot_be_deployed_is_refused(program: TestClient, path: str, body: dict):
    assert program.post(path, json=body).status_code == 422


def test_a_model_of_another_project_is_refused(program: TestClient, served: Served):
    other = factories.make_project(served.actor, "Other")
    answer = program.post(f"/v1/projects/{other.id}/deployments", json={"name": "x", "modelId": str(served.model.id)})
    assert answer.status_code == 422
    assert program.get(f"/v1/projects/{other.id}/deployments/{served.deployment.id}").status_code == 404


def test_a_deleted_deployment_is_gone(program: TestClient, served: Served, path: str):
    item = f"{path}/{served.deployment.id}"
    assert program.delete(item).json() == {"data": {"id": str(served.deployment.id)}}
    assert program.get(item).status_code == 404
    assert program.put(item, json={"threshold": 0.1}).status_code == 404
    assert program.delete(item).status_code == 404
    assert program.get(path).json()["data"] == []


def test_what_was_done_is_in_the_audit_log(program: TestClient, served: Served, path: str):
    program.put(f"{path}/{served.deployment.id}", json={"threshold": 0.1})
    program.delete(f"{path}/{served.deployment.id}")
    with new_session() as session:
        actions = session.scalars(
            select(AuditEvent.action).where(AuditEvent.action.like("deployment.%")).order_by(AuditEvent.id)
        )
        assert list(actions) == ["deployment.create", "deployment.change", "deployment.delete"]


@pytest.mark.parametrize("role", [Role.LABELER, Role.VIEWER])
def test_a_key_that_may_not_deploy_may_look(
    role: Role, program_as: Callable[[Actor], TestClient], served: Served, path: str
):
    client = program_as(served.actor)
    client.headers["apikey"] = factories.make_key(served.actor, name="weak", role=role)
    assert client.get(path).status_code == 200
    assert client.post(path, json={"name": "x", "modelId": str(served.model.id)}).status_code == 403
    assert client.put(f"{path}/{served.deployment.id}", json={"threshold": 0.5}).status_code == 403
    assert client.delete(f"{path}/{served.deployment.id}").status_code == 403


def test_an_id_that_is_no_uuid_is_refused(program: TestClient, path: str):
    assert program.get(f"{path}/1").status_code == 422
    assert program.get(f"{path}/{UUID(int=1)}").status_code == 404
