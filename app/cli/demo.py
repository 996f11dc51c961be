"""`./kizu demo`: from real images to a working endpoint, through the services that the screens use."""

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import httpx
from sqlalchemy import func, select

from app.accounts.permissions import Actor
from app.cli.accounts import owner_actor
from app.cli.demo_data import Cell, by_batch, load_cells
from app.cli.demo_folders import Sample, load_folder
from app.cli.instance import running_instance
from app.contracts.jobs import JobState, TrainSpec
from app.contracts.tasks import Split, TaskType
from app.db.session import transaction
from app.db.tables import Deployment, Image, Job
from app.images import uploading
from app.images.adding import Extras, FileStatus
from app.jobs import service as job_service
from app.projects import service as project_service
from app.registry import service as registry_service
from app.serving import service as serving_service

SOLAR_CELLS = "Solar cells"
LICENCE = """\
Images: ELPV, 2,624 photographs of solar cells by electroluminescence. C. Buerhop-Lutz, S. Deitsch, A. Maier,
F. Gallwitz, S. Berger, B. Doll, J. Hauch, C. Camus, C. J. Brabec: A Benchmark for Visual Identification of Defective
Solar Cells in Electroluminescence Imagery, EU PVSEC 2018.
Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0).
You may try Kizu with them; a model trained on them is not for a product.
"""

TYPE_NAMES = {
    TaskType.CLASSIFICATION: "classification",
    TaskType.DETECTION: "detection",
    TaskType.SEGMENTATION: "segmentation",
    TaskType.ANOMALY: "anomaly",
}
TASKS = {name: task for task, name in TYPE_NAMES.items()}


class Endpoint(NamedTuple):
    """Where to call the demonstration's model, and with what."""

    project_id: int
    deployment_id: UUID
    key: str


def run(*, host: str | None, port: int | None, task: TaskType, folder: Path | None) -> None:
    """Make project, model and endpoint, print how to call it, and call it once.

    Where no Kizu runs on this home, one is started and goes on running until Ctrl-C. A second demonstration goes on
    with what the first one left.

    Args:
        host: Where to listen, if Kizu is started.
        port: Likewise.
        task: The type of the project.
        folder: Pictures and labels, in a form of `app.cli.demo_folders`; None takes the solar cells.

    Raises:
        SystemExit: Projects of the type cannot be made, or there are no images for it.
    """
    if task not in project_service.SUPPORTED_TASKS:
        raise SystemExit(f"This Kizu makes no projects of the type {task.value} yet.")
    if folder is None and task is not TaskType.CLASSIFICATION:
        raise SystemExit(f"Name a folder with images: ./kizu demo --type {TYPE_NAMES[task]} --folder DIR")
    samples = load_folder(folder, task) if folder is not None else None
    if samples is None:
        print(LICENCE)
    with running_instance(host=host, port=port) as instance:
        with transaction() as session:
            actor = owner_actor(session)
        if samples is None or folder is None:
            cells = load_cells()
            project_id = ensure_solar_cells(actor)
            upload_cells(actor, project_id, cells)
            # One whose defect all experts saw; the model may miss it all the same, and then says so.
            example = next(cell for cell in cells if cell.split == "test" and cell.probability == 1.0).path
        else:
            project_id = ensure_project(actor, f"{folder.resolve().name.capitalize()} ({TYPE_NAMES[task]})", task)
            upload_samples(actor, project_id, samples)
            example = min(samples, key=lambda one: (one.split is not Split.TEST, not one.is_bad)).path
        endpoint = ensure_endpoint(actor, project_id)
        show(instance.address, endpoint, example)
        instance.stay()


def ensure_project(actor: Actor, name: str, task: TaskType) -> int:
    """Return the project of a name and type, made where it is not there yet."""
    with transaction() as session:
        for project in project_service.list_projects(session, actor=actor):
            if (project.name, project.task) == (name, task.value):
                return project.id
        return project_service.create_project(session, actor=actor, name=name, task=task).id


def ensure_solar_cells(actor: Actor) -> int:
    """Return the project of the solar cells, made with its classes and metadata fields where it is not there yet."""
    with transaction() as session:
        for project in project_service.list_projects(session, actor=actor):
            if project.name == SOLAR_CELLS:
                return project.id
        project = project_service.create_project(session, actor=actor, name=SOLAR_CELLS, task=TaskType.CLASSIFICATION)
        for name, is_good, description in (
            ("functional", True, "No defect, or one that surely does not matter."),
            ("defective", False, "A defect that costs power, with a probability of a half or more."),
        ):
            project_service.create_category(
                session, actor=actor, project_id=project.id, name=name, is_good=is_good, description=description
            )
        for name, kind in (("cell type", "text"), ("defect probability", "number")):
            project_service.create_metadata_field(session, actor=actor, project_id=project.id, name=name, type=kind)
        return project.id


def upload_cells(actor: Actor, project_id: int, cells: list[Cell]) -> None:
    """Upload all cells with class, split and metadata; nothing where the project has images already."""
    batches = []
    for batch in by_batch(cells):
        first = batch[0]
        extras = Extras(
            category_name=first.category,
            split=first.split,
            metadata={"cell type": first.cell_type, "defect probability": round(first.probability, 3)},
        )
        batches.append(([cell.path for cell in batch], extras))
    upload(actor, project_id, batches)


def upload_samples(actor: Actor, project_id: int, samples: list[Sample]) -> None:
    """Upload the pictures of a folder with their labels; nothing where the project has images already."""
    batches = []
    for sample in samples:
        # A picture with shapes is a batch of its own: a label file is of one picture.
        nothing = sample.shapes is not None and not sample.shapes
        shapes = None if nothing else sample.shapes
        extras = Extras(category_name=sample.category, shapes=shapes, nothing_to_label=nothing, split=sample.split)
        batches.append(([sample.path], extras))
    upload(actor, project_id, batches)


def upload(actor: Actor, project_id: int, batches: list[tuple[list[Path], Extras]]) -> None:
    """Upload files batch by batch, each with what is said of all of it; nothing where the project has images already.

    Raises:
        SystemExit: A file was refused.
    """
    with transaction(writes=False) as session:
        n_there = session.scalar(select(func.count()).where(Image.project_id == project_id)) or 0
    if n_there:
        print(f"The project has {n_there} images already.")
        return
    counts = dict.fromkeys(FileStatus, 0)
    n_files = sum(len(paths) for paths, _ in batches)
    began_at = time.monotonic()
    for paths, extras in batches:
        with ExitStack() as files:
            named = [(path.name, files.enter_context(path.open("rb"))) for path in paths]
            outcome = uploading.upload(actor=actor, project_id=project_id, files=named, extras=extras)
        for fate in outcome.fates:
            counts[fate.status] += 1
        _progress(f"Uploading  {sum(counts.values())}/{n_files} images")
    seconds = time.monotonic() - began_at
    _progress(f"Uploaded {counts[FileStatus.CREATED]} images in {seconds:.0f} s", end="\n")
    if counts[FileStatus.REFUSED]:
        raise SystemExit(f"{counts[FileStatus.REFUSED]} images were refused: their files are damaged.")


def ensure_endpoint(actor: Actor, project_id: int) -> Endpoint:
    """Return an endpoint of the project with a new key; train and deploy first where there is none."""
    with transaction(writes=False) as session:
        deployment_id = session.scalar(
            select(Deployment.id).where(Deployment.project_id == project_id, Deployment.is_active).limit(1)
        )
    if deployment_id is None:
        model_id = train(actor, project_id)
        with transaction() as session:
            deployment_id = serving_service.create_deployment(
                session, actor=actor, project_id=project_id, name="Demonstration", model_id=model_id
            ).id
    with transaction() as session:
        _, key = serving_service.create_endpoint_key(
            session, actor=actor, project_id=project_id, deployment_id=deployment_id, name="demo"
        )
    return Endpoint(project_id, deployment_id, key)


def train(actor: Actor, project_id: int) -> UUID:
    """Train with one click's settings, telling how it goes; return the model.

    Raises:
        SystemExit: The training did not succeed; its own message says why.
    """
    began_at = time.monotonic()
    with transaction() as session:
        job_id = job_service.start_training(session, actor=actor, project_id=project_id, spec=TrainSpec()).id
    stage = None
    for job in _watch(job_id):
        text = f"Training   {job.fraction:4.0%}  {job.stage or 'waiting for a worker'}"
        _progress(text, end="\n" if job.stage != stage and not sys.stdout.isatty() else "")
        stage = job.stage
    if job.state != JobState.SUCCEEDED:
        raise SystemExit(f"\nThe training ended as {job.state}: {job.message}")
    with transaction(writes=False) as session:
        model = registry_service.get_for_job(session, actor=actor, project_id=project_id, job_id=job_id)
        _progress(f"Trained “{model.name}” in {time.monotonic() - began_at:.0f} s", end="\n")
        return model.id


def _watch(job_id: UUID) -> Iterator[Job]:
    """Yield the job's row twice a second until it has ended."""
    while True:
        with transaction(writes=False) as session:
            job = session.get_one(Job, job_id)
        yield job
        if JobState(job.state).is_terminal:
            return
        time.sleep(0.5)


def show(address: str, endpoint: Endpoint, picture: Path) -> None:
    """Print the page's address, a line that calls the endpoint, and its answer for an image it was not trained on."""
    url = serving_service.prediction_url(address, endpoint.deployment_id)
    print(f"\nThe model, page by page:  {address}/projects/{endpoint.project_id}/models\n")
    print("Call it, here with a defect that it has not seen:\n")
    print(f"  curl -H 'apikey: {endpoint.key}' -F file=@{shlex.quote(str(picture))} '{url}'\n")
    answer = httpx.post(
        url,
        headers={"apikey": endpoint.key},
        files={"file": (picture.name, picture.read_bytes())},
        timeout=60,
    )
    print(f"It answers {answer.status_code}:  {answer.text[:600]}\n")
    if answer.status_code != 200:
        raise SystemExit("The endpoint did not answer as it should.")


def _progress(text: str, end: str = "") -> None:
    """Show a line that the next one replaces, on a terminal; elsewhere only the lines that stay."""
    if sys.stdout.isatty():
        print(f"\r\x1b[2K{text}", end=end, flush=True)
    elif end:
        print(text, flush=True)
