"""An endpoint that serves a real model, and a real server in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.accounts.permissions import Actor
from app.db.session import transaction
from app.db.tables import Deployment, ModelVersion, Project
from app.serving import service as serving_service
from tests import factories, model_support

ROOT = Path(__file__).resolve().parent.parent
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
