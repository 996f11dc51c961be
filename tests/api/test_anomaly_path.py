"""An anomaly project from its first picture to its answer: upload, train, report, deploy, predict."""

import base64
import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.db.session import new_session
from app.db.tables import Prediction
from tests import model_support, serving_support
from tests.serving_support import Served

N_GOOD, N_BAD = 40, 12


@pytest.fixture
def trained(owner: Actor, program: TestClient) -> Served:
    return serving_support.serve_anomaly(owner, program, n_good=N_GOOD, n_abnormal=N_BAD)


def test_the_report_shows_figures_and_a_heat_map_of_every_image(browser: TestClient, trained: Served) -> None:
    stem = f"/projects/{trained.project.id}/models/{trained.model.id}"
    with new_session() as session:
        rows = list(session.scalars(select(Prediction).where(Prediction.model_id == trained.model.id)))
    assert len(rows) == N_GOOD + N_BAD
    for split in ("dev", "test"):
        page = browser.get(f"{stem}?split={split}")
        assert page.status_code == 200
        assert "AUROC" in page.text
        assert "Abnormal" in page.text
        stored = trained.model.metrics[split]
        assert ("AUPRO" in page.text) == (stored["aupro"] is not None)
    assert trained.model.metrics["test"]["auroc"]["value"] > 0.6  # faint scratches, random filters
    assert any(0.0 < trained.model.metrics[split]["pixel_auroc"] < 1.0 for split in ("dev", "test"))
    assert trained.model.manifest["lineage"]["head"] == "patch_memory"
    assert trained.model.manifest["parity"]["max_score_difference"] < 1e-2, trained.model.manifest["parity"]
    row = max(rows, key=lambda row: row.ng_score or 0.0)
    found = browser.get(f"{stem}/heat/{row.image_id}.png")
    assert found.status_code == 200
    assert np.asarray(Picture.open(io.BytesIO(found.content)).convert("RGBA"))[..., 3].max() > 0
    for page in ("train", "models", "deploy", "label", "data"):
        assert browser.get(f"/projects/{trained.project.id}/{page}", follow_redirects=True).status_code == 200


def test_the_answer_has_an_anomaly_score_and_a_heat_map_where_asked(anonymous: TestClient, trained: Served) -> None:
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


def test_an_anomaly_project_keeps_its_two_classes(program: TestClient, trained: Served) -> None:
    answer = program.post(
        f"/v1/projects/{trained.project.id}/images",
        files={"file": ("new.png", model_support.part_picture(999, size_px=64))},
        data={"label": "Scratch"},
    )
    assert answer.status_code == 422
