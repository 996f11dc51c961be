"""A project with reference images, from its pairs to a model that is deployed, called and shown."""

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.contracts.bundle import FindRule
from app.contracts.dataset import DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.reference import ReferenceRule
from app.contracts.tasks import Split, TaskType
from app.core.ids import new_uuid
from app.db.session import new_session, transaction
from app.db.tables import Deployment, Image, ModelVersion, Prediction
from app.jobs import service as job_service
from app.references import service as reference_service
from app.serving import service as serving_service
from benchmarks.boards import CLASSES
from tests import factories
from tests.boards import BY_NAME, IDS, ONE, Boards
from worker.ml.training import detection, detection_fit
from worker.ml.training.phases import Phase
from worker.tasks.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Line:
    """A deployed model, what it learned from, and how to call it."""

    boards: Boards
    model: ModelVersion
    deployment: Deployment
    client: TestClient

    @property
    def stem(self) -> str:
        return f"/projects/{self.model.project_id}"

    def call(self, index: int, *, reference: int | None = None, **metadata: str) -> Any:
        files = {"file": ("file", self.boards.content[f"image-{index}"])}
        if reference is not None:
            files["reference"] = ("file", self.boards.content[f"reference-{reference}"])
        data = {"metadata": json.dumps(metadata)} if metadata else {}
        return self.client.post(f"/inference/v1/predict?endpoint_id={self.deployment.id}", files=files, data=data)

    def stored(self, name: str) -> list[float]:
        """Return the scores of what was found on an image when the model was published."""
        with new_session() as session:
            query = select(Prediction.shapes).join(Image, Image.id == Prediction.image_id).where(Image.name == name)
            shapes = session.scalars(query.where(Prediction.model_id == self.model.id)).one()
        return [shape["score"] for shape in shapes]


@pytest.fixture
def line_of(owner: Actor, program: TestClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes a project of boards with a rule, trains on it and deploys the model."""
    monkeypatch.setattr(detection, "FROZEN_ALONE", Phase("head", "Head", 5e-3, 1, 1.0))
    monkeypatch.setattr(detection_fit, "_MIN_STEPS_AN_EPOCH", 2)
    # Hardly anything is learned; so that something is found, everything is.
    monkeypatch.setattr(detection, "FINDS", FindRule(score_floor=1e-6))

    def make(rule: ReferenceRule) -> Line:
        boards = Boards([Split.TRAIN] * 6 + [Split.DEV] * 2, rule)
        project = factories.make_project(owner, "Boards", ("extra", "missing"), TaskType.DETECTION)
        ids = upload(program, project.id, boards)
        with transaction() as session:
            reference_service.set_rule(session, actor=owner, project_id=project.id, rule=rule)
            if rule.kind == "one":
                reference_service.mark(session, actor=owner, project_id=project.id, selection=[ids["part0_temp.png"]])
        with transaction() as session:
            spec = TrainSpec(backbone="toy", image_size_px=64)
            job_id = job_service.start_training(session, actor=owner, project_id=project.id, spec=spec).id
        train(str(job_id))
        with transaction() as session:
            model = session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one()
            deployment = serving_service.create_deployment(
                session, actor=owner, project_id=project.id, name="Line 3", model_id=model.id, threshold=0.0
            )
        return Line(boards, model, deployment, program)

    return make


def upload(program: TestClient, project_id: int, boards: Boards) -> dict[str, int]:
    """Upload the pictures with their boxes, and the references; return the ids by name."""
    ids = {}
    for item in boards.dataset.items:
        pairs = [("reference", "temp")] if boards.dataset.reference_rule != ONE or not item.image_id else []
        for blob, ending in (("image", "test"), *pairs):
            name = f"part{item.image_id}_{ending}.png"
            files: dict[str, Any] = {"file": (name, boards.content[f"{blob}-{item.image_id}"])}
            if blob == "image":
                files["label"] = ("label.xml", voc(item))
            answer = program.post(
                f"/v1/projects/{project_id}/images", files=files, data={"split": str(item.split), "name": name}
            )
            assert answer.status_code == 201, answer.text
            ids[name] = int(answer.json()["data"]["id"])
    return ids


def voc(item: DatasetItem) -> str:
    objects = "".join(
        f"<object><name>{CLASSES[IDS.index(one.category_id)]}</name><bndbox><xmin>{one.box.xmin}</xmin>"
        f"<ymin>{one.box.ymin}</ymin><xmax>{one.box.xmax}</xmax><ymax>{one.box.ymax}</ymax></bndbox></object>"
        for one in item.annotations
        if one.box is not None
    )
    size = f"<size><width>{item.width_px}</width><height>{item.height_px}</height><depth>1</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


def found_in(answer: Any) -> list[float]:
    assert answer.status_code == 200, answer.text
    return sorted((one["score"] for one in answer.json()["backbonepredictions"].values()), reverse=True)


def test_a_call_names_its_reference_or_brings_it(line_of: Any, browser: TestClient) -> None:
    line = line_of(BY_NAME)
    expected = line.stored("part1_test.png")
    assert expected
    by_name = found_in(line.call(1, image_id="part1_test.png"))
    assert by_name == pytest.approx(expected)
    assert found_in(line.call(1, reference=1)) == pytest.approx(expected)
    assert found_in(line.call(1, reference=1, image_id="unknown")) == pytest.approx(expected)
    assert found_in(line.call(1, image_id="Part1_TEST")) == by_name
    assert found_in(line.call(1, image_id="part2_test")) != by_name
    for metadata, said in (({}, "`image_id`"), ({"image_id": "part99_test"}, "no reference image “part99”")):
        answer = line.call(1, **metadata)
        assert answer.status_code == 422
        assert said in answer.json()["message"]
    wide = {"reference": ("file", factories.picture_bytes(size=(96, 64)))}
    files = {"file": ("file", line.boards.content["image-1"]), **wide}
    url = f"/inference/v1/predict?endpoint_id={line.deployment.id}"
    answer = line.client.post(url, files=files)
    assert (answer.status_code, "same proportions" in answer.json()["message"]) == (422, True)
    page = browser.get(f"{line.stem}/deploy/{line.deployment.id}").text
    assert "reference=@reference.png" in page
    assert '<option value="part1"' in page
    tried = browser.post(
        f"{line.stem}/deploy/{line.deployment.id}/try",
        files={"file": ("a.png", line.boards.content["image-1"])},
        data={"reference_key": "part1"},
    )
    assert tried.status_code == 200
    refused = browser.post(
        f"{line.stem}/deploy/{line.deployment.id}/try", files={"file": ("a.png", line.boards.content["image-1"])}
    )
    assert (refused.status_code, "Send its reference image" in refused.text) == (422, True)


def test_one_reference_goes_with_the_model(line_of: Any, browser: TestClient, owner: Actor) -> None:
    line = line_of(ONE)
    with transaction() as session:
        reference_service.set_rule(session, actor=owner, project_id=line.model.project_id, rule=None)
    assert found_in(line.call(1)) == pytest.approx(line.stored("part1_test.png"))
    page = browser.get(f"{line.stem}/models/{line.model.id}").text
    assert "one reference image for all; 1 in the model" in page
    (sha256,) = line.model.manifest["reference"]["pictures"].values()
    picture = f"{line.stem}/models/{line.model.id}/references/{sha256}"
    assert picture in page
    assert browser.get(picture).headers["content-type"] == "image/png"
    assert browser.get(f"{line.stem}/models/{line.model.id}/references/{'0' * 64}").status_code == 404
    assert browser.get(f"{line.stem}/models/{new_uuid()}/references/{sha256}").status_code == 404
    content = browser.get(f"{line.stem}/models/{line.model.id}/bundle.zip").content
    assert f"reference-{sha256}.png" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert "reference.png" not in browser.get(f"{line.stem}/deploy/{line.deployment.id}").text
