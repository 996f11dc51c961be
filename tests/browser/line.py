"""A production line in miniature, built over REST as a program would: what the pages are looked at with."""

from dataclasses import dataclass
from uuid import UUID

from tests.browser.support import Rest, RunningKizu, solar_cells, zipped

BACKBONE = {"model": {"architecture": "efficientnet_lite0"}}  # one, so that the state is there soon


@dataclass(frozen=True)
class Line:
    """Ids of what there is in the installation.

    Attributes:
        kizu: The installation.
        key: The owner's.
        rest: A program with it.
        project_id: The full project: 60 labelled images, 12 without a label, two models, an endpoint with calls.
        model_ids: Its models, the older first.
        deployment_id: Its endpoint.
        training_id: Its first training.
        empty_id: A project without an image.
        anomaly_id: A project that learned from good cells alone; `anomaly_model_id` names its model.
        anomaly_image_ids: Its images, good and bad.
        failed_id: A project whose training failed, and `failed_training_id` names that.
    """

    kizu: RunningKizu
    key: str
    rest: Rest
    project_id: int
    image_ids: tuple[int, ...]
    unlabelled_ids: tuple[int, ...]
    model_ids: tuple[UUID, UUID]
    deployment_id: UUID
    training_id: UUID
    empty_id: int
    anomaly_id: int
    anomaly_model_id: UUID
    anomaly_image_ids: tuple[int, ...]
    failed_id: int
    failed_training_id: UUID

    @property
    def url(self) -> str:
        return self.kizu.url


def build_line(kizu: RunningKizu) -> Line:
    key = kizu.command("key", "create", "--name", "Browser tests").splitlines()[-1]
    rest = Rest(base_url=kizu.url, headers={"apikey": key}, timeout=60)
    project_id = _project(rest, "Solar cells, line 2")
    good, bad = solar_cells(0.0, 30), solar_cells(1.0, 30)
    image_ids = rest.upload(project_id, zipped({"functional": good, "defective": bad}))
    loose = [*solar_cells(0.0, 6, skip=30), *solar_cells(1.0, 6, skip=30)]
    unlabelled_ids = rest.upload(project_id, zipped({"": loose}), folders_as_classes=False)
    _mark_good(rest, project_id, "functional")
    rest.ask("POST", f"/v1/projects/{project_id}/tags", json={"name": "line 2"})
    rest.ask("POST", f"/v1/projects/{project_id}/autosplit", json={})
    first = rest.ended(project_id, rest.train(project_id, **BACKBONE))
    second = rest.ended(project_id, rest.train(project_id, **BACKBONE, kizu={"symmetry": "flip_h"}))
    assert first["state"] == second["state"] == "succeeded", (first, second)
    failed_id, failed_training_id = _failed_training(kizu, rest)
    anomaly_id, anomaly_model_id, anomaly_image_ids = _anomaly_model(rest)
    deployment = rest.ask(
        "POST", f"/v1/projects/{project_id}/deployments", json={"name": "Line 2", "modelId": first["modelId"]}
    )
    for path in (*bad[:4], *good[:4]):
        with path.open("rb") as file:
            rest.post(
                f"/inference/v1/predict?endpoint_id={deployment['id']}",
                files={"file": file},
                data={"metadata": '{"inspectionStationId": "camera 1"}'},
            ).raise_for_status()
    return Line(
        kizu=kizu,
        key=key,
        rest=rest,
        project_id=project_id,
        image_ids=tuple(image_ids),
        unlabelled_ids=tuple(unlabelled_ids),
        model_ids=(UUID(first["modelId"]), UUID(second["modelId"])),
        deployment_id=UUID(deployment["id"]),
        training_id=UUID(first["id"]),
        empty_id=_project(rest, "Housings, line 3"),
        anomaly_id=anomaly_id,
        anomaly_model_id=anomaly_model_id,
        anomaly_image_ids=tuple(anomaly_image_ids),
        failed_id=failed_id,
        failed_training_id=failed_training_id,
    )


def _project(rest: Rest, name: str, project_type: str = "classification") -> int:
    return rest.ask("POST", "/v1/projects", json={"name": name, "projectType": project_type})["id"]


def _mark_good(rest: Rest, project_id: int, name: str) -> None:
    classes = rest.ask("GET", f"/v1/projects/{project_id}/classes")
    class_id = next(one["id"] for one in classes if one["name"] == name)
    rest.ask("PUT", f"/v1/projects/{project_id}/classes/{class_id}", json={"isGood": True})


def _anomaly_model(rest: Rest) -> tuple[int, UUID, list[int]]:
    project_id = _project(rest, "Cells, good ones only", "anomaly-detection")
    cells = {"Normal": solar_cells(0.0, 30, skip=50), "Abnormal": solar_cells(1.0, 10, skip=50)}
    image_ids = rest.upload(project_id, zipped(cells))
    rest.ask("POST", f"/v1/projects/{project_id}/autosplit", json={})
    trained = rest.ended(project_id, rest.train(project_id, **BACKBONE))
    assert trained["state"] == "succeeded", trained
    return project_id, UUID(trained["modelId"]), image_ids


def _failed_training(kizu: RunningKizu, rest: Rest) -> tuple[int, UUID]:
    """Train on images whose files somebody took from under the installation."""
    project_id = _project(rest, "Lost files")
    cells = {"functional": solar_cells(0.0, 4, skip=40), "defective": solar_cells(1.0, 4, skip=40)}
    for image_id in rest.upload(project_id, zipped(cells)):
        rest.get(f"/v1/projects/{project_id}/images/{image_id}/thumbnail").raise_for_status()
    for original in (kizu.home / "blobs" / "projects" / str(project_id) / "originals").glob("*/*"):
        original.unlink()
    status = rest.ended(project_id, rest.train(project_id, **BACKBONE))
    assert status["state"] == "failed", status
    return project_id, UUID(status["id"])
