"""Trainings through a real Redis and real workers: to success, stopped, killed, delivered twice, without a broker."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from app.accounts.permissions import Actor
from app.contracts.jobs import TrainSpec
from app.db.session import new_session, transaction
from app.db.tables import Image, Job, JobEvent, ModelVersion, Prediction, Project
from app.jobs import service as job_service
from app.queue import alive, current
from app.queue import celery as celery_queue
from app.settings import get_settings
from app.storage.current import blobs
from tests import factories
from tests.jobs_support import add_images, log_lines, read_job
from tests.workers import Backstage, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def forget_settings() -> None:
    get_settings.cache_clear()
    alive.client.cache_clear()
    celery_queue._client.cache_clear()


@pytest.fixture(scope="module")
def backstage(kizu_home: Path, migrated: None) -> Iterator[Backstage]:
    """A Redis, and a worker for each queue."""
    stage = Backstage(kizu_home / "backstage", env={"KIZU_JOB_CANCEL_GRACE_S": "20"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIZU_REDIS_URL", stage.redis.url)
        forget_settings()
        try:
            stage.start_redis()
            stage.start_worker("cpu", wait=False)
            stage.start_worker("gpu")
            yield stage
        finally:
            stage.stop()
    forget_settings()


@pytest.fixture(autouse=True)
def _logs_of_failures(backstage: Backstage, request: pytest.FixtureRequest) -> Iterator[None]:
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before:
        print(backstage.logs())


@pytest.fixture
def owner(database: None) -> Actor:
    return factories.make_user()


@pytest.fixture
def project(owner: Actor) -> Project:
    made = factories.make_project(owner)
    add_images(made, {"good": 30, "scratch": 30}, unlabelled=4)
    return made


def train(project: Project, owner: Actor, **choices: object) -> UUID:
    spec = TrainSpec(**{"backbone": "toy", "symmetry": "identity"} | choices)
    with transaction() as session:
        return job_service.start_training(session, actor=owner, project_id=project.id, spec=spec).id


def wait_for_end(job_id: UUID, longest_s: float = 90) -> Job:
    wait_until(lambda: read_job(job_id).ended_at is not None, longest_s, "the end of the training")
    return read_job(job_id)


def train_to_the_middle(project: Project, owner: Actor, image_size_px: int) -> UUID:
    """Start a training and return once its work is under way: a stage after `Starting` has been said.

    The work is short. Where all of it was done before we looked again, another is started, at a size of which nothing
    is cached: of five, `image_size_px` and above in steps of 16.
    """
    for size_px in range(image_size_px, image_size_px + 5 * 16, 16):
        job_id = train(project, owner, image_size_px=size_px)
        wait_until(lambda job_id=job_id: read_job(job_id).stage not in {"", "Starting"}, 60, "the middle of the work")
        if read_job(job_id).state == "running":
            return job_id
    pytest.fail("five trainings were over before they were seen running")


def count_models(job_id: UUID) -> int:
    with new_session() as session:
        return session.scalar(select(func.count()).select_from(ModelVersion).where(ModelVersion.job_id == job_id))


def assert_one_whole_model(job_id: UUID) -> None:
    row = read_job(job_id)
    assert (row.state, row.message) == ("succeeded", ""), (row.message, log_lines(job_id))
    with new_session() as session:
        model = session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one()
        n_predictions = session.scalar(
            select(func.count()).select_from(Prediction).where(Prediction.model_id == model.id)
        )
    assert n_predictions == 64
    assert blobs().exists(f"{model.bundle_key}/manifest.json")
    assert blobs().exists(f"{model.bundle_key}/model.onnx")
    assert model.manifest["lineage"]["dataset_version_id"] == row.dataset_version_id
    assert set(model.metrics) == {"train", "dev", "test"}


def test_a_training_ends_in_a_model_with_predictions(backstage: Backstage, project: Project, owner: Actor) -> None:
    job_id = train(project, owner, name="First")
    wait_for_end(job_id)
    assert_one_whole_model(job_id)
    with new_session() as session:
        events = list(session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)))
    stages = [event.payload["stage"] for event in events if event.kind == "progress"]
    assert stages[0] == "Starting"
    assert stages[-1] == "Publishing"
    assert len(stages) == len(set(stages))
    assert not (get_settings().cache_dir / "jobs" / str(job_id)).exists()


def test_missing_originals_are_named_and_what_to_do_is_said(
    backstage: Backstage, project: Project, owner: Actor
) -> None:
    with new_session() as session:
        images = list(session.scalars(select(Image).where(Image.project_id == project.id).order_by(Image.id)))
    good = [image for image in images if image.category_id == images[0].category_id]
    blobs().delete(good[0].blob_key)
    only_one = train(project, owner, image_size_px=72)
    assert wait_for_end(only_one).state == "succeeded", "one image fewer ends no training"
    assert any(f"Image {good[0].id} was left out" in line for line in log_lines(only_one))
    for image in good:
        blobs().delete(image.blob_key)
    row = wait_for_end(train(project, owner, image_size_px=80))
    assert row.state == "failed"
    names = ", ".join(image.name for image in good[:5])
    assert f"30 of 64 images are missing from the store: {names} and 25 more." in row.message
    assert "upload them again" in row.message
    assert row.error_id is None, "nobody needs to look into the worker's log"


def test_delivered_three_times_it_is_done_once(backstage: Backstage, project: Project, owner: Actor) -> None:
    job_id = train(project, owner, seed=1)
    for _ in range(2):
        current.current().send("jobs.train", str(job_id), queue="gpu")
    wait_for_end(job_id)
    last = train(project, owner, seed=2)  # behind the copies in the queue: when it ends, they are done with
    wait_for_end(last)
    assert_one_whole_model(job_id)
    assert read_job(job_id).n_attempts == 1


def test_stop_in_the_middle_leaves_no_model(backstage: Backstage, project: Project, owner: Actor) -> None:
    job_id = train_to_the_middle(project, owner, 96)
    with transaction() as session:
        job_service.request_cancel(session, actor=owner, project_id=project.id, job_id=job_id)
    row = wait_for_end(job_id, 30)
    assert row.state == "cancelled"
    assert count_models(job_id) == 0


def test_kill_9_of_the_process_that_trains(backstage: Backstage, project: Project, owner: Actor) -> None:
    job_id = train_to_the_middle(project, owner, 192)
    os.kill(read_job(job_id).worker_pid, signal.SIGKILL)
    wait_for_end(job_id)
    assert read_job(job_id).n_attempts == 2
    assert_one_whole_model(job_id)


def test_kill_9_of_the_whole_worker_and_a_new_one(backstage: Backstage, project: Project, owner: Actor) -> None:
    job_id = train_to_the_middle(project, owner, 288)
    backstage.kill("gpu")
    backstage.start_worker("gpu")
    wait_for_end(job_id)
    assert read_job(job_id).n_attempts == 2
    assert any("goes on" in line for line in log_lines(job_id))
    assert_one_whole_model(job_id)


def test_a_broker_that_is_away_delays_and_loses_nothing(backstage: Backstage, project: Project, owner: Actor) -> None:
    backstage.kill("redis")
    celery_queue._client.cache_clear()
    job_id = train(project, owner, seed=6)
    row = read_job(job_id)
    assert (row.state, row.sent_at) == ("queued", None)
    backstage.start_redis()
    wait_for_end(job_id)
    assert_one_whole_model(job_id)
