"""An anomaly project from its first picture to its answer: upload, train, report, deploy, predict."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.contracts.jobs import JobState, TrainSpec
from app.db.session import new_session, transaction
from app.db.tables import Deployment, Job, ModelVersion, Prediction
from app.jobs import service as job_service
from app.serving import service as serving_service
from tests import factories, model_support
from worker.tasks.train import train

N_GOOD, N_BAD = 40, 12


@dataclass(frozen=True)
class Trained:
    project_id: int
    model: ModelVersion
    deployment: Deployment
    key: str


def upload(program: TestClient, project_id: int, seed: int, label: str, split: str | None = None) -> None:
    content = model_support.part_picture(seed, "scratch" if label == "Abnormal" else None, size_px=64)
    data = {"label": label, **({"split": split} if split else {})}
    answer = program.post(f"/v1/projects/{project_id}/images", files={"file": (f"{seed}.png", content)}, data=data)
    assert answer.status_code == 201, answer.text


@pytest.fixture
def trained(owner: Actor, program: TestClient) -> Trained:
    made = program.post("/v1/projects", json={"name": "Housings", "projectType": "anomaly-detection"})
    assert made.status_code == 201, made.text
    project_id = made.json()["data"]["id"]
    for seed in range(N_GOOD):
        upload(program, project_id, seed, "Normal")
    for seed in range(N_GOOD, N_GOOD + N_BAD):
        upload(program, project_id, seed, "Abnormal")
    spec = TrainSpec(backbone="toy", image_size_px=64)
    with transaction() as session:
        job_id = job_service.start_training(session, actor=owner, project_id=project_id, spec=spec).id
    train(str(job_id))
    with new_session() as session:
        job = session.get_one(Job, job_id)
        assert job.state == JobState.SUCCEEDED, job.message
        model = session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one()
    with transaction() as session:
        deployment = serving_service.create_deployment(
            session, actor=owner, project_id=project_id, name="Line 3", model_id=model.id
        )
    return Trained(project_id, model, deployment, factories.make_key(owner))


def test_the_report_shows_figures_and_a_heat_map_of_every_image(browser: TestClient, trained: Trained) -> None:
    stem = f"/projects/{trained.project_id}/models/{trained.model.id}"
    with new_session() as session:
        rows = list(session.scalars(select(Prediction).where(Prediction.model_id == trained.model.id)))
    assert len(rows) == N_GOOD + N_BAD
    for split in ("dev", "test"):
        page = browser.get(f"{stem}?split={split}")
        assert page.status_code == 200
        assert "AUROC" in page.text
        assert "Abnormal" in page.text
    assert trained.model.metrics["test"]["auroc"]["value"] > 0.6  # faint scratches, random filters
    assert trained.model.manifest["lineage"]["head"] == "patch_memory"
    assert trained.model.manifest["parity"]["max_score_difference"] < 1e-2, trained.model.manifest["parity"]
    row = max(rows, key=lambda row: row.ng_score or 0.0)
    found = browser.get(f"{stem}/heat/{row.image_id}.png")
    assert found.status_code == 200
    assert np.asarray(Picture.open(io.BytesIO(found.content)).convert("RGBA"))[..., 3].max() > 0
    for page in ("train", "models", "deploy", "label", "data"):
        assert browser.get(f"/projects/{trained.project_id}/{page}", follow_redirects=True).status_code == 200


def test_the_answer_has_an_anomaly_score_and_a_heat_map_where_asked(anonymous: TestClient, trained: Trained) -> None:
    content = model_support.part_picture(901, "scratch", size_px=64)
    anonymous.headers["apikey"] = trained.key
    url = f"/inference/v1/predict?endpoint_id={trained.deployment.id}"
    body = anonymous.post(url, files={"file": ("part.png", content)}).json()
    assert body["type"] == "ClassificationPrediction"
    assert body["predictions"]["labelName"] in {"Normal", "Abnormal"}
    assert (body["anomaly_score"] >= body["threshold"]) == (body["predictions"]["labelName"] == "Abnormal")
    assert body["threshold"] == 0.5
    assert "heat_map" not in body
    heat = anonymous.post(f"{url}&heat_map=true", files={"file": ("part.png", content)}).json()["heat_map"]
    assert heat["media_type"] == "image/png"
    assert Picture.open(io.BytesIO(base64.b64decode(heat["data"]))).size == (64, 64)


def test_an_anomaly_project_keeps_its_two_classes(program: TestClient, trained: Trained) -> None:
    answer = program.post(
        f"/v1/projects/{trained.project_id}/images",
        files={"file": ("new.png", model_support.part_picture(999, size_px=64))},
        data={"label": "Scratch"},
    )
    assert answer.status_code == 422
