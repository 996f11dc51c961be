"""A segmentation project from its first picture to its answer: upload with masks, train, report, deploy, predict."""

import io
import re

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.db.session import new_session
from app.db.tables import Prediction
from app.registry.boundaries import KINDS
from tests import serving_support
from tests.serving_support import Served

N_IMAGES = 24


@pytest.fixture
def trained(owner: Actor, program: TestClient) -> Served:
    return serving_support.serve_masks(owner, program, n_images=N_IMAGES)


def pixels_of(runs: str, height: int, width: int) -> np.ndarray:
    """Read run lengths as the published client does."""
    pairs = re.findall(r"([0-9]+)([ZN])", runs)
    return np.concatenate([np.full(int(n), letter == "N") for n, letter in pairs]).reshape(height, width)


def test_from_masks_to_the_report_and_the_answer(
    browser: TestClient, program: TestClient, anonymous: TestClient, trained: Served
) -> None:
    model, stem = trained.model, f"/projects/{trained.project.id}"
    assert model.metrics["test"]["mean_iou"]["value"] > 0.4
    assert model.manifest["lineage"]["head"] == "decoder"
    assert model.manifest["parity"]["max_score_difference"] < 1e-3
    with new_session() as session:
        rows = list(session.scalars(select(Prediction).where(Prediction.model_id == model.id)))
    assert len(rows) == N_IMAGES
    found = next(row for row in rows if row.split == "test" and row.shapes)
    assert found.shapes[0]["mask"]["counts"]

    report = browser.get(f"{stem}/models/{model.id}?split=test").text
    for name in ("Mean IoU", "Dice", "Pixel precision", "Pixel recall", "Defects found", "drawn regions"):
        assert name in report
    assert "overlay__shape" in report
    image = browser.get(f"{stem}/models/{model.id}/images/{found.image_id}").text
    assert "overlay__shape--found" in image
    outlines = f"{stem}/models/{model.id}/boundaries/{found.image_id}.svg"
    assert "boundary-switch" in report
    assert outlines in report
    assert outlines in image
    parted = browser.get(outlines)
    assert parted.headers["content-type"] == "image/svg+xml"
    assert 'viewBox="0 0 64 64"' in parted.text
    assert KINDS[0].color in parted.text
    missed = browser.get(f"{outlines}?threshold=1").text
    assert [kind.name for kind in KINDS if kind.color in missed] == ["missed"]
    assert browser.get(f"{stem}/models/{model.id}/boundaries/999999.svg").status_code == 404
    assert "Mean IoU" in browser.get(f"{stem}/models").text
    drafts = browser.get(f"{stem}/label/{found.image_id}/drafts").json()["shapes"]
    assert drafts[0]["mask"] == found.shapes[0]["mask"]
    for page in ("train", "deploy", "label", "data", "monitor"):
        assert browser.get(f"{stem}/{page}", follow_redirects=True).status_code == 200

    content, mask = serving_support.masked_part(1001)
    anonymous.headers["apikey"] = trained.key
    body = anonymous.post(trained.path, files={"file": ("part.png", content)}).json()
    inner = body["backbonepredictions"]
    assert (body["type"], body["backbonetype"]) == ("ClassificationPrediction", "SegmentationPrediction")
    assert (inner["imageWidth"], inner["imageHeight"], inner["num_classes"]) == (64, 64, 2)
    assert inner["encoding"] == {"algorithm": "rle", "options": {"map": {"Z": 0, "N": 1}}}
    by_name = {one["label_name"]: one for one in inner["bitmaps"].values()}
    square = by_name["square"]
    truth = np.asarray(Picture.open(io.BytesIO(mask))) == serving_support.SQUARE
    seen = pixels_of(square["bitmap"], 64, 64)
    assert (seen & truth).sum() / (seen | truth).sum() > 0.5
    assert body["predictions"]["labelName"] == "NG"
    assert {one["labelName"] for one in body["regions"]} == set(by_name)

    empty, _ = serving_support.masked_part(1000, is_marked=False)
    clean = anonymous.post(trained.path, files={"file": ("part.png", empty)}).json()
    assert clean["backbonepredictions"]["bitmaps"] == {} or clean["predictions"]["labelName"] == "NG"
    tried = browser.post(f"{stem}/deploy/{trained.deployment.id}/try", files={"file": ("part.png", content)})
    assert "overlay__shape--found" in tried.text
