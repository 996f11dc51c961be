"""An endpoint that serves a real model, and a real server in a process of its own."""

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import pytest
import torch
from PIL import Image as Picture
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.contracts.jobs import TrainSpec
from app.db.session import transaction
from app.db.tables import Deployment, ModelVersion, Project
from app.jobs import service as job_service
from app.serving import service as serving_service
from tests import factories, model_support
from worker.ml.training import segmentation, segmentation_fit
from worker.ml.training.phases import Phase
from worker.tasks.train import train

ROOT = Path(__file__).resolve().parent.parent
SQUARE = 2  # its value in a mask of `masked_part`
SPLITS = [("good", "train")] * 12 + [("scratch", "train")] * 12 + [("good", "dev")] * 3 + [("scratch", "dev")] * 3


@dataclass(frozen=True)
class Served:
    """A project with a model, an endpoint on it, and a key that calls it."""

    actor: Actor
    project: Project
    model: ModelVersion
    deployment: Deployment
    key: str

    @property
    def path(self) -> str:
        return f"/inference/v1/predict?endpoint_id={self.deployment.id}"


def serve(actor: Actor, folder: Path, *, threshold: float | None = None) -> Served:
    """Train a small model on twenty-four pictures and put an endpoint on it."""
    project = factories.make_project(actor)
    model_support.add_images(project, SPLITS)
    model = model_support.train_model(project, actor, folder / "bundle")
    with transaction() as session:
        deployment = serving_service.create_deployment(
            session, actor=actor, project_id=project.id, name="Line 3", model_id=model.id, threshold=threshold
        )
    return Served(actor, project, model, deployment, factories.make_key(actor))


class Poster(Protocol):
    """What `TestClient` and `httpx.Client` share. It carries a key."""

    def post(self, url: str, **kwargs: Any) -> httpx.Response: ...


def serve_anomaly(actor: Actor, program: Poster, *, n_good: int = 40, n_abnormal: int = 12) -> Served:
    """Make an anomaly project over REST, train it as a worker does, and put an endpoint on the model."""
    made = program.post("/v1/projects", json={"name": "Housings", "projectType": "anomaly-detection"})
    project_id = made.json()["data"]["id"]
    for seed in range(n_good + n_abnormal):
        label, defect = ("Normal", None) if seed < n_good else ("Abnormal", "scratch")
        content = model_support.part_picture(seed, defect, size_px=64)
        url, files, data = f"/v1/projects/{project_id}/images", {"file": (f"{seed}.png", content)}, {"label": label}
        if defect is not None and seed % 2:  # half of them say where
            files["label"], data = ("mask.png", _centre_mask()), {}
        answer = program.post(url, files=files, data=data)
        assert answer.status_code == 201, answer.text
    return _train_and_serve(actor, project_id)


def _centre_mask() -> bytes:
    values, out = np.zeros((64, 64), np.uint8), io.BytesIO()
    values[16:48, 16:48] = 255
    Picture.fromarray(values).save(out, "PNG")
    return out.getvalue()


def masked_part(seed: int, *, is_marked: bool = True) -> tuple[bytes, bytes]:
    """Return a grey picture of 64 x 64 px with a bright bar or a dark square, or without; and its mask as PNG."""
    generator = np.random.default_rng(seed)
    pixels, values = generator.normal(110, 6, (64, 64)), np.zeros((64, 64), np.uint8)
    if is_marked:
        kind = SQUARE if seed % 2 else 1
        height, width = (10, 34) if kind == 1 else (20, 20)
        top, left = (int(generator.integers(2, 62 - side)) for side in (height, width))
        place = np.s_[top : top + height, left : left + width]
        pixels[place] += 90 if kind == 1 else -90
        values[place] = kind
    pictures = []
    for array in (pixels.clip(0, 255).astype(np.uint8), values):
        out = io.BytesIO()
        Picture.fromarray(array).save(out, "PNG")
        pictures.append(out.getvalue())
    return pictures[0], pictures[1]


def serve_masks(actor: Actor, program: Poster, *, n_images: int = 30) -> Served:
    """Make a segmentation project over REST, with masks as labels; train it, and put an endpoint on the model."""
    made = program.post("/v1/projects", json={"name": "Plates", "projectType": "segmentation"})
    project_id = made.json()["data"]["id"]
    for seed in range(n_images):
        content, mask = masked_part(seed, is_marked=seed % 5 != 0)
        answer = program.post(
            f"/v1/projects/{project_id}/images",
            files={"file": (f"{seed}.png", content), "label": ("mask.png", mask)},
            data={"split": "test" if seed % 3 == 2 else "train", "label_map": '{"1": "bar", "2": "square"}'},
        )
        assert answer.status_code == 201, answer.text
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small spend more time waking threads than computing
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(segmentation, "FROZEN_ALONE", Phase("head", "Head", 1e-2, 7, 1.0))
            patch.setattr(segmentation_fit, "BATCH", 4)
            return _train_and_serve(actor, project_id)
    finally:
        torch.set_num_threads(before)


def _train_and_serve(actor: Actor, project_id: int) -> Served:
    """Train a project as a worker does, and put an endpoint on the model."""
    spec = TrainSpec(backbone="toy", image_size_px=64)
    with transaction() as session:
        job_id = job_service.start_training(session, actor=actor, project_id=project_id, spec=spec).id
    train(str(job_id))
    with transaction() as session:
        project = session.get_one(Project, project_id)
        model = session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one()
        deployment = serving_service.create_deployment(
            session, actor=actor, project_id=project_id, name="Line 3", model_id=model.id
        )
    return Served(actor, project, model, deployment, factories.make_key(actor))


@contextmanager
def live_server(log: Path, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run the web process on the test's own database and files; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = ["-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(port), "--log-level", "warning"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *argv], cwd=ROOT, env={**os.environ, **(env or {})}, stdout=out, stderr=subprocess.STDOUT
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(process, address, log)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_up(process: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{address}/signin", timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the server did not start:\n{log.read_text()}")
