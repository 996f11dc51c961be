"""What belongs to another project does not exist: every route is asked for it, with a body that would be good.

The routes are found by walking the application, so that a new one is held to this from its first day.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI, UploadFile
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel

from app.accounts.permissions import Actor
from app.contracts.dataset import CategoryRef
from app.contracts.jobs import JobState
from app.core.ids import new_uuid
from app.db.session import transaction
from app.db.tables import (
    Category,
    DatasetVersion,
    Deployment,
    Image,
    InferenceRecord,
    Job,
    MetadataField,
    ModelVersion,
    Tag,
)
from app.main import all_routes
from tests import factories
from tests.manifests import make_manifest

# Members of a body that a type alone does not say.
GOOD_VALUES = {"name": "fresh name", "color": "#123456", "threshold": 0.5, "role": "viewer"}
# A page that only forwards a person's browser answers what it would show when htmx asks.
AS_HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}
# Requests whose members depend on each other, which no type says.
GOOD_REQUESTS: dict[str, dict[str, Any]] = {
    "images.undo_deleted": {"data": {"change": "2026-01-01T00:00:00Z"}},
    "images.set_tags": {"data": {"add": "x"}},
    "jobs.start": {"data": {}},
    "annotations.set_class": {"data": {"image_id": "1", "version": "0", "category_id": "1"}},
    "annotations.set_shapes": {"json": {"version": 0, "shapes": []}},
    "references.set_rule": {"data": {"kind": "none"}},
    "v1.references.set_rule": {"json": {"kind": "none"}},
    "prompting.set_strokes": {"json": {"version": 0, "strokes": []}},
    "annotations.magic": {"json": {"prompts": [{"points": [[1, 1]]}]}},
    "api.labels.replace": {"json": {"labels": []}},
    "v1.classes.create": {"json": {"0": {"name": "x"}}},
    "v1.train.start": {"json": None},
    "v1.models.download": {"json": {"threshold": 0.5}},
    "api.images.upload": {"files": {"file": ("a.png", factories.picture_bytes(), "image/png")}},
    "api.images.append_metadata": {"json": {"metadataAppend": {"f": "x"}, "mediaIds": [1]}},
    "api.images.add_tags": {"json": {"tagNames": ["x"], "mediaIds": [1]}},
    "api.images.set_split_many": {"json": {"split": "train", "mediaIds": [1]}},
    "api.images.set_split": {"json": {"split": "train"}},
}
MANIFEST = make_manifest(
    categories=(CategoryRef(id=1, name="a", color="#000000"), CategoryRef(id=2, name="b", color="#ffffff"))
)


@dataclass
class Foreign:
    """One of everything in a project, as rows."""

    project_id: int
    ids: dict[str, Any]


@pytest.fixture
def foreign(owner: Actor) -> Foreign:
    """A project with an image, a job, a model, an endpoint with a call, and definitions."""
    project = factories.make_project(owner, "Theirs")
    with transaction() as session:
        tag = Tag(project_id=project.id, name="t", color="#000000")
        field = MetadataField(project_id=project.id, name="f", type="text", predefined_choices=[])
        image = Image(
            project_id=project.id, name="i.png", sha256="0" * 64, blob_key="none", format="PNG", mode="L",
            width_px=1, height_px=1, n_bytes=1,
        )  # fmt: skip
        version = DatasetVersion(
            project_id=project.id, number=7, content_hash="0" * 64, items_key="none", n_images=0, counts={}
        )
        job = Job(project_id=project.id, kind="train", state=JobState.QUEUED, spec={})
        session.add_all([tag, field, image, version, job])
        session.flush()
        model = ModelVersion(
            project_id=project.id, job_id=job.id, name="m", bundle_key="none", n_bytes=0,
            manifest=MANIFEST.model_dump(mode="json"), metrics={}, threshold=0.5,
        )  # fmt: skip
        session.add(model)
        session.flush()
        deployment = Deployment(project_id=project.id, name="d", model_id=model.id, threshold=0.5)
        session.add(deployment)
        session.flush()
        call = InferenceRecord(
            deployment_id=deployment.id, model_id=model.id, sha256="0" * 64, width_px=1, height_px=1, category_name="x",
            score=0.5, scores=[0.5, 0.5], threshold=0.5, latency_ms=1.0,
        )  # fmt: skip
        session.add(call)
        session.flush()
        category = session.query(Category).filter_by(project_id=project.id).first()
        ids = {
            "category_id": category.id, "class_id": category.id, "tag_id": tag.id, "field_id": field.id,
            "image_id": image.id, "version": version.number, "job_id": job.id, "training_id": job.id,
            "model_id": model.id, "deployment_id": deployment.id, "call_id": call.id, "key_id": new_uuid(),
            "sha256": "0" * 64,
        }  # fmt: skip
    return Foreign(project.id, ids)


def value_of(annotation: Any, name: str) -> Any:
    """Return a good value for a parameter of this type."""
    if name in GOOD_VALUES:
        return GOOD_VALUES[name]
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            fields = annotation.model_fields
            return {f.alias or n: value_of(f.annotation, n) for n, f in fields.items() if f.is_required()} or {
                (f.alias or n): GOOD_VALUES[n] for n, f in fields.items() if n in GOOD_VALUES
            }
        if issubclass(annotation, enum.Enum):
            return next(iter(annotation)).value
        if issubclass(annotation, bool):
            return True
        if issubclass(annotation, int):
            return 1
        if issubclass(annotation, float):
            return 0.5
        if issubclass(annotation, UUID):
            return str(new_uuid())
    text = str(annotation)
    if text.startswith("dict"):
        return {"f": "x"}
    if text.startswith("list[int]"):
        return [1]
    return ["x"] if text.startswith("list") else "x"


def request_for(route: APIRoute) -> dict[str, Any]:
    """Return the keyword arguments of a good request to `route`, but for its path."""
    if route.name in GOOD_REQUESTS:
        return GOOD_REQUESTS[route.name]
    json_body, form, files = None, {}, {}
    for param in route.dependant.body_params:
        kind = type(param.field_info).__name__
        annotation = param.field_info.annotation
        if kind == "File" or "UploadFile" in str(annotation) or annotation is UploadFile:
            files[param.alias] = ("a.png", factories.picture_bytes(), "image/png")
        elif kind == "Form":
            form[param.alias] = value_of(annotation, param.name)
        else:
            json_body = value_of(annotation, param.name)
    query = {
        p.alias: value_of(p.field_info.annotation, p.name)
        for p in route.dependant.query_params
        if p.field_info.is_required()
    }
    return {"json": json_body, "data": form or None, "files": files or None, "params": query or None}


def narrow_routes(app: FastAPI) -> list[APIRoute]:
    return [r for r in all_routes(app) if "project_id" in r.param_convertors and len(r.param_convertors) > 1]


def test_things_of_another_project_answer_404_on_every_route(
    app: FastAPI, browser: TestClient, program: TestClient, owner: Actor, foreign: Foreign
) -> None:
    mine = factories.make_project(owner, "Mine")
    routes = narrow_routes(app)
    assert len(routes) > 40
    wrong = []
    for route in routes:
        path = route.path.replace("{project_id}", str(mine.id))
        for name in route.param_convertors:
            if name != "project_id":
                path = path.replace("{" + name + "}", str(foreign.ids[name]))
        client = program if path.startswith("/v1/") else browser
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            answer = client.request(method, path, headers=AS_HTMX, **request_for(route))
            if answer.status_code != 404:
                wrong.append((method, path, answer.status_code, answer.text[:150]))
    assert not wrong, "\n".join(map(str, wrong))


def test_a_project_that_one_may_not_enter_answers_404_on_every_route(
    app: FastAPI,
    people: dict[Any, Actor],
    browser_as: Callable[[Actor], TestClient],
    program_as: Callable[[Actor], TestClient],
    foreign: Foreign,
) -> None:
    from app.accounts.permissions import GRANTS, Role
    from app.main import granted_action
    from app.projects import service as project_service

    with transaction() as session:
        project_service.set_invite_only(session, actor=people[Role.OWNER], project_id=foreign.project_id, user_ids=[])
    browser, program = browser_as(people[Role.MEMBER]), program_as(people[Role.MEMBER])
    wrong, checked = [], 0
    for route in all_routes(app):
        if "project_id" not in route.param_convertors or granted_action(route) not in GRANTS[Role.MEMBER]:
            continue
        path = route.path
        for name in route.param_convertors:
            path = path.replace("{" + name + "}", str({**foreign.ids, "project_id": foreign.project_id}[name]))
        client = program if path.startswith("/v1/") else browser
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            answer = client.request(method, path, **request_for(route))
            checked += 1
            redirects_into_it = answer.status_code == 303 and str(foreign.project_id) in answer.headers["location"]
            if answer.status_code != 404 and not (route.name == "projects.show" and redirects_into_it):
                wrong.append((method, path, answer.status_code, answer.text[:150]))
    assert checked > 60
    assert not wrong, "\n".join(map(str, wrong))
