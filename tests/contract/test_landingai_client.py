"""The published `landingai` client, unmodified, against a real server: users' scripts that move to Kizu."""

import io
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import select

from app.accounts.permissions import Role
from app.cli.testing import CLIENT_VENV, ensure_client_venv
from app.db.session import new_session, transaction
from app.db.tables import InferenceRecord
from app.serving import predictor
from app.serving import service as serving_service
from app.storage.current import blobs
from tests import factories, model_support, serving_support, shape_support
from tests.serving_support import Served

HERE = Path(__file__).resolve().parent
UNKNOWN = "59eff733-1dcd-4ace-b104-9041c745f1da"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="session")
def landingai_python() -> Path:
    """The interpreter of the client's environment, made where it is missing."""
    ensure_client_venv()
    python = CLIENT_VENV / "bin" / "python"
    tried = subprocess.run([python, "-c", "import landingai.predict"], check=False, capture_output=True, text=True)
    assert tried.returncode == 0, f"the landingai client cannot be imported from {CLIENT_VENV.name}:\n{tried.stderr}"
    return python


@pytest.fixture(scope="module")
def served(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serving_support.serve(factories.make_user(Role.OWNER), tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def address(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_support.live_server(tmp_path_factory.mktemp("server") / "server.log") as found:
        yield found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "part.png"
    path.write_bytes(model_support.part_picture(900, "scratch", size_px=300))
    return path


def drive(python: Path, address: str, served: Served, picture: Path, **changes: Any) -> dict[str, Any]:
    job = {
        "url": f"{address}/inference/v1/predict",
        "endpoint_id": str(served.deployment.id),
        "key": served.key,
        "picture": str(picture),
        "n": 1,
        "metadata": None,
        **changes,
    }
    done = subprocess.run(
        [python, HERE / "landingai_driver.py"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=picture.parent,  # the client reads a `.env` from where it stands
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_client_reads_our_prediction_and_sends_its_metadata(
    landingai_python: Path, address: str, served: Served, picture: Path
):
    metadata = {"imageId": "28587", "inspectionStationId": "camera#1", "locationId": "hall 2"}
    last = max((call.id for call in _calls(served)), default=0)
    found = drive(landingai_python, address, served, picture, n=2, metadata=metadata)
    assert found["error"] is None
    # The client sends a JPEG of its own making, so what it sent is in the history, not in our file.
    calls = _calls_after(served, last, 2)
    for call, prediction in zip(calls, found["predictions"], strict=True):
        assert prediction == {
            "type": "ClassificationPrediction",
            "label": call.category_name,
            "index": [category["id"] for category in served.model.manifest["categories"]].index(call.category_id),
            "score": pytest.approx(call.score, abs=1e-12),
        }
        assert call.call_metadata == {
            "image_id": "28587",
            "inspection_station_id": "camera#1",
            "location_id": "hall 2",
        }
    model = predictor.open_model(served.model.bundle_key)
    own = model.predict([blobs().read(calls[0].blob_key)], threshold=served.deployment.threshold)[0]
    assert own.decision.score == pytest.approx(found["predictions"][0]["score"], abs=1e-12)
    assert {"infer_s", "preprocess_s", "serialize_s"} <= set(found["metrics"])


def test_the_client_reads_the_boxes_of_a_detector(
    landingai_python: Path, address: str, served: Served, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
):
    project = shape_support.make_project(served.actor, n_each=1)
    model = shape_support.publish_detector(project, served.actor, tmp_path_factory.mktemp("detector"))
    with transaction() as session:
        deployment = serving_service.create_deployment(
            session, actor=served.actor, project_id=project.id, name="Boxes", model_id=model.id
        )
    detector = replace(served, project=project, model=model, deployment=deployment)
    found = {}
    for kind in ("right", "clean"):
        path = tmp_path / f"{kind}.png"
        path.write_bytes(shape_support.pictured(kind, 900).content)
        answer = drive(landingai_python, address, detector, path)
        assert answer["error"] is None
        found[kind] = sorted(answer["predictions"], key=lambda one: one["index"])
    assert found["clean"] == []
    assert [(one["type"], one["label"], one["index"]) for one in found["right"]] == [
        ("ObjectDetectionPrediction", "bright", 1),
        ("ObjectDetectionPrediction", "dark", 2),
    ]
    assert [one["box"] for one in found["right"]] == [[0, 0, 16, 16], [32, 32, 48, 48]]


def test_the_client_reads_the_masks_of_a_segmenter(
    landingai_python: Path, address: str, served: Served, tmp_path: Path
):
    with httpx.Client(base_url=address, headers={"apikey": served.key}, timeout=60) as program:
        segmenter = serving_support.serve_masks(served.actor, program, n_images=24)
    content, mask = serving_support.masked_part(1001)
    path = tmp_path / "part.png"
    path.write_bytes(content)
    found = drive(landingai_python, address, segmenter, path)
    assert found["error"] is None
    square = next(one for one in found["predictions"] if one["label"] == "square")
    assert square["type"] == "SegmentationPrediction"
    seen, truth = np.array(square["mask"]) > 0, np.asarray(Picture.open(io.BytesIO(mask))) == serving_support.SQUARE
    assert seen.shape == (64, 64)
    assert (seen & truth).sum() / (seen | truth).sum() > 0.5


def _calls(served: Served, after: int = 0) -> list[InferenceRecord]:
    """Return the recorded calls of this endpoint alone: those of others may be written while a test runs."""
    with new_session() as session:
        query = select(InferenceRecord).where(
            InferenceRecord.deployment_id == served.deployment.id, InferenceRecord.id > after
        )
        return list(session.scalars(query.order_by(InferenceRecord.id)))


def _calls_after(served: Served, last: int, n_calls: int) -> list[InferenceRecord]:
    """Wait until that many calls were recorded after the call `last`, and return them."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if len(calls := _calls(served, last)) >= n_calls:
            return calls
        time.sleep(0.1)
    raise AssertionError("the calls were not recorded")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"key": "land_sk_" + "x" * 40}, "UnauthorizedError"),
        ({"endpoint_id": UNKNOWN}, "BadRequestError"),
        ({"endpoint_id": "not-a-uuid"}, "BadRequestError"),
    ],
)
def test_the_client_raises_what_its_documentation_says(
    landingai_python: Path, address: str, served: Served, picture: Path, changes: dict[str, str], error: str
):
    assert drive(landingai_python, address, served, picture, **changes)["error"] == error


def test_the_client_waits_as_long_as_a_429_says_and_goes_on(
    landingai_python: Path, served: Served, picture: Path, tmp_path: Path
):
    limited = {"KIZU_RATE_LIMIT_PER_MINUTE": "30"}  # one call every two seconds once the burst is used up
    with serving_support.live_server(tmp_path / "limited.log", limited) as address:
        content = picture.read_bytes()
        with httpx.Client(base_url=address, headers={"apikey": served.key}) as client:
            statuses = [client.post(served.path, files={"file": content}).status_code for _ in range(32)]
        assert 429 in statuses
        started = time.monotonic()
        found = drive(landingai_python, address, served, picture, n=2)
        seconds = time.monotonic() - started
    assert found["error"] is None
    assert len(found["predictions"]) == 2
    assert seconds < 40  # without Retry-After the client would sleep a minute


def test_the_client_reads_the_answer_of_an_anomaly_project(
    landingai_python: Path, address: str, served: Served, tmp_path: Path
):
    """It has no type of its own for them: the shape of classification, with Normal and Abnormal."""
    with httpx.Client(base_url=address, headers={"apikey": served.key}, timeout=60) as program:
        anomaly = serving_support.serve_anomaly(served.actor, program)
        path = tmp_path / "part.png"
        path.write_bytes(model_support.part_picture(901, "scratch", size_px=64))
        url = f"{anomaly.path}&heat_map=true"
        answer = program.post(url, files={"file": path.read_bytes()}, headers={"apikey": anomaly.key}).json()
    found = drive(landingai_python, address, anomaly, path)
    assert found["error"] is None
    prediction = found["predictions"][0]
    assert prediction["type"] == "ClassificationPrediction"
    assert prediction["label"] in {"Normal", "Abnormal"}
    assert answer["threshold"] == 0.5
    assert 0.0 < answer["anomaly_score"] < 1.0
    assert answer["heat_map"]["media_type"] == "image/png"
