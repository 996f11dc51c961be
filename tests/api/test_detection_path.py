"""A detection project's model: its report, galleries and images."""

import io
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.contracts.jobs import TrainSpec
from app.core.errors import Invalid
from app.db.session import new_session, transaction
from app.db.tables import Deployment, InferenceRecord, ModelVersion, Prediction, Project
from app.jobs import service as job_service
from app.serving import collecting
from app.serving import service as serving_service
from app.serving.recording import recorder
from tests import factories, shape_support
from worker.ml.training import detection
from worker.ml.training.phases import Phase
from worker.tasks.train import train

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def model(owner: Actor, tmp_path: Path) -> ModelVersion:
    return shape_support.publish_detector(shape_support.make_project(owner), owner, tmp_path / "bundle")


@pytest.fixture
def rows(model: ModelVersion) -> list[Prediction]:
    with new_session() as session:
        query = select(Prediction).where(Prediction.model_id == model.id).order_by(Prediction.image_id)
        return list(session.scalars(query))


@pytest.fixture
def endpoint(owner: Actor, model: ModelVersion) -> Deployment:
    with transaction() as session:
        return serving_service.create_deployment(
            session, actor=owner, project_id=model.project_id, name="Line 3", model_id=model.id
        )


def stem(model: ModelVersion) -> str:
    return f"/projects/{model.project_id}/models/{model.id}"


def test_an_image_is_wrong_where_something_is_missed_or_extra(rows: list[Prediction]) -> None:
    wrong = [row.is_wrong for row in rows]
    assert wrong[:18] == [kind in {"missed", "extra", "mixed"} for kind in shape_support.PLAN for _ in range(3)]
    assert wrong[-2:] == [None, None]
    clean = rows[12]
    assert (clean.predicted_category_id, clean.ng_score, clean.shapes, clean.drawn) == (None, 0.0, [], [])


def test_the_report_says_what_is_found_missed_and_mixed_up(browser: TestClient, model: ModelVersion) -> None:
    page = browser.get(stem(model))
    assert page.status_code == 200
    assert "mAP50-95" in page.text
    # A split has 3 images of each kind but 6 right ones: 12 + 6 + 3 + 3 boxes are drawn, of which 3 + 3 are not found.
    assert "Of 24 drawn boxes it finds 18 and misses 6; 6 of its 24 finds are not right." in page.text
    assert "it calls NG 15 of 15 with a defect and 0 of 3 without" in page.text
    part = browser.get(stem(model), params={"threshold": 1.0}, headers=PARTIAL)
    assert part.text.lstrip().startswith("<div")
    assert "it finds 0 and misses 24" in part.text
    assert "overlay__shape--drawn" in part.text


@pytest.mark.parametrize(
    ("which", "n"), [("missed", 3), ("false_alarms", 3), ("mixed_up", 3), ("right", 9), ("all", 18)]
)
def test_each_gallery_holds_its_images(browser: TestClient, model: ModelVersion, which: str, n: int) -> None:
    page = browser.get(f"{stem(model)}/images", params={"which": which}).text
    assert page.count("tile__link") == n
    assert browser.get(f"{stem(model)}/images", params={"split": "unlabelled"}).text.count("tile__link") == 2


def test_a_cell_of_the_matrix_opens_its_images(browser: TestClient, model: ModelVersion) -> None:
    bright, dark = (category["id"] for category in model.manifest["categories"])
    for query, n in (
        ({"true": bright, "predicted": dark}, 3),
        ({"true": bright, "predicted": bright}, 9),
        ({"which": "missed", "true": dark}, 3),
        ({"which": "missed", "true": bright}, 0),
        ({"which": "false_alarms", "predicted": bright}, 3),
    ):
        page = browser.get(f"{stem(model)}/images", params=query).text
        assert page.count("tile__link") == n, query


def test_an_image_shows_each_shape_and_what_became_of_it(
    browser: TestClient, model: ModelVersion, rows: list[Prediction]
) -> None:
    missed, extra, mixed, clean = (browser.get(f"{stem(model)}/images/{rows[n].image_id}").text for n in (3, 6, 9, 12))
    assert "The answer is wrong: 1 missed." in missed
    assert "nothing drawn there" in extra
    assert "drawn as another class" in mixed
    assert "there is nothing to mark" in clean
    assert 'd="M8 24h16v16h-16z"' in missed
    none = browser.get(f"{stem(model)}/images/{rows[0].image_id}", params={"threshold": 1.0}).text
    assert "Nothing reaches the threshold." in none
    assert "2 below the threshold" in none


def test_rest_says_the_figures_and_every_find(program: TestClient, model: ModelVersion) -> None:
    bright, dark = (category["id"] for category in model.manifest["categories"])
    training = f"/v1/projects/{model.project_id}/train/{model.job_id}/results"
    test = program.get(f"{training}/metrics").json()["data"][-1]
    assert test["name"] == "test"
    assert test["metrics"][0] == {"name": "F1", "performance": 0.75, "recall": 0.75, "precision": 0.75}
    counts = program.get(f"{training}/confusion-matrix").json()["data"][-1]
    assert counts["falseNegativePredictions"] == [{"count": 3, "groundTruthClassId": dark, "predictedClassId": 0}]
    assert counts["falsePositivePredictions"] == [{"count": 3, "groundTruthClassId": 0, "predictedClassId": bright}]
    assert counts["misclassifications"] == [{"count": 3, "groundTruthClassId": bright, "predictedClassId": dark}]
    listed = program.get(f"/v1/projects/{model.project_id}/models/{model.id}/predictions").json()["data"]
    assert [len(row["shapes"]) for row in listed[::3][:6]] == [2, 1, 2, 1, 0, 2]
    assert listed[12]["predictedClassId"] is None
    assert {find["isRight"] for find in listed[6]["shapes"]} == {True, False}


def test_a_call_is_answered_with_boxes_and_kept_in_the_history(
    anonymous: TestClient, browser: TestClient, owner: Actor, model: ModelVersion, endpoint: Deployment
) -> None:
    url = f"/inference/v1/predict?endpoint_id={endpoint.id}"
    anonymous.headers["apikey"] = factories.make_key(owner)
    picture = shape_support.pictured("right", 900).content
    body = anonymous.post(url, files={"file": ("part.png", picture)}).json()
    assert (body["backbonetype"], body["type"]) == ("ObjectDetectionPrediction", "ClassificationPrediction")
    assert (body["predictions"]["labelIndex"], body["predictions"]["labelName"]) == (1, "NG")
    found = {one["labelName"]: one for one in body["backbonepredictions"].values()}
    assert {name: one["labelIndex"] for name, one in found.items()} == {"bright": 1, "dark": 2}
    assert found["dark"]["coordinates"] == {"xmin": 32, "ymin": 32, "xmax": 48, "ymax": 48}
    clean = anonymous.post(url, files={"file": ("part.png", shape_support.pictured("clean", 901).content)}).json()
    assert (clean["backbonepredictions"], clean["predictions"]["labelName"]) == ({}, "OK")
    assert recorder().flush()
    page = browser.get(f"/projects/{model.project_id}/monitor").text
    assert "nothing found" in page
    assert page.count('class="overlay"') == 1
    assert "Take the answers as labels" not in page
    with new_session() as session:
        calls = list(session.scalars(select(InferenceRecord).order_by(InferenceRecord.id)))
    assert [(bool(call.category_name), len(call.shapes)) for call in calls] == [(True, 2), (False, 0)]
    large = browser.get(f"/projects/{model.project_id}/monitor/calls/{calls[0].id}/picture?size=large")
    pixels = np.asarray(Picture.open(io.BytesIO(large.content)).convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=2).max() > 60  # the picture is grey, the box is not


def test_pictures_of_calls_are_added_without_a_class(
    browser: TestClient, owner: Actor, model: ModelVersion, endpoint: Deployment
) -> None:
    answer = browser.post(
        f"/projects/{model.project_id}/deploy/{endpoint.id}/try",
        files={"file": ("part.png", shape_support.pictured("extra", 902).content)},
    )
    assert "2 finds" in answer.text
    assert "overlay__shape--found" in answer.text
    assert recorder().flush()
    with new_session() as session:
        call_id = session.scalars(select(InferenceRecord.id)).one()
    with pytest.raises(Invalid):
        collecting.add_to_dataset(actor=owner, project_id=model.project_id, call_ids=[call_id], with_answers=True)
    collected = collecting.add_to_dataset(actor=owner, project_id=model.project_id, call_ids=[call_id])
    assert collected.n_created == 1


def test_the_list_the_cards_and_the_grid_know_the_detector(
    browser: TestClient, model: ModelVersion, rows: list[Prediction]
) -> None:
    assert "mAP50 on test" in browser.get(f"/projects/{model.project_id}/models").text
    assert "mAP50" in browser.get("/projects").text
    grid = f"/projects/{model.project_id}/data"
    dark = model.manifest["categories"][1]["id"]
    assert browser.get(grid, params={"wrong": "1"}).text.count('class="tile__link"') == 27
    assert browser.get(grid, params={"predicted": dark}).text.count('class="tile__link"') == sum(
        row.predicted_category_id == dark for row in rows
    )
    drafts = browser.get(f"/projects/{model.project_id}/label/{rows[0].image_id}/drafts").json()
    assert [shape["category_id"] for shape in drafts["shapes"]] == [
        model.manifest["categories"][shape["category_index"]]["id"] for shape in rows[0].shapes or ()
    ]


def test_two_detectors_are_compared_on_the_same_images(
    browser: TestClient, owner: Actor, model: ModelVersion, tmp_path: Path
) -> None:
    with new_session() as session:
        project = session.get_one(Project, model.project_id)
    blunt = shape_support.publish_detector(project, owner, tmp_path / "blunt", name="Blunt", limit=1.0)
    page = browser.get(f"/projects/{project.id}/models/compare", params={"a": str(blunt.id), "b": str(model.id)})
    assert page.status_code == 200
    assert "18 images in the test split of both" in page.text
    assert "mAP50" in page.text
    assert "B is better" in page.text  # the blunt one finds nothing at its threshold
    assert "overlay__shape--drawn" in page.text


@pytest.mark.usefixtures("one_thread")
def test_from_drawn_boxes_to_a_published_detector(
    program: TestClient, browser: TestClient, owner: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole path as people take it, on a backbone of random filters: what is found is another test's subject."""
    monkeypatch.setattr(detection, "FROZEN_ALONE", Phase("head", "Head", 5e-3, 2, 1.0))
    made = program.post("/v1/projects", json={"name": "Tiles", "projectType": "object-detection"})
    project_id = made.json()["data"]["id"]
    for name in ("bright", "dark"):
        program.post(f"/v1/projects/{project_id}/classes", json={"0": {"name": name, "color": "#0072b2"}})
    for seed in range(12):
        seen = shape_support.pictured(shape_support.PLAN[seed % 6], seed)
        files = {"file": (f"{seed}.png", seen.content), "label": ("label.xml", shape_support.voc(seen))}
        data = {"split": "test" if seed % 4 == 3 else "train"}
        answer = program.post(f"/v1/projects/{project_id}/images", files=files, data=data)
        assert answer.status_code == 201, answer.text
    with transaction() as session:
        spec = TrainSpec(backbone="toy", image_size_px=64)
        job_id = job_service.start_training(session, actor=owner, project_id=project_id, spec=spec).id
    train(str(job_id))
    with new_session() as session:
        model = session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one()
    assert model.manifest["parity"]["max_score_difference"] <= 1e-3
    assert browser.get(stem(model)).status_code == 200
    assert browser.get(f"/projects/{project_id}/train/{job_id}").status_code == 200
