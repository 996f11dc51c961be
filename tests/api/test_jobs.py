"""The Train screen and the training routes, at both edges."""

import io
import re
from html import unescape
from urllib.parse import urlencode
from uuid import UUID, uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import func, select

from app.accounts.permissions import Actor, Role
from app.annotations.shapes import set_shapes
from app.catalog import AUGMENTATIONS
from app.contracts.dataset import AnnotationValue
from app.contracts.jobs import Augmentations, LogLine, MetricPoint, Progress, TrainSpec
from app.contracts.shapes import Box
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.db.session import new_session, transaction
from app.db.tables import Category, Image, Job, Project
from app.jobs import changes
from app.jobs import events as job_events
from app.queue.inline import InlineQueue
from tests import factories
from tests.jobs_support import add_images, make_job, read_job, set_job


@pytest.fixture
def labelled(project: Project) -> Project:
    add_images(project, {"good": 6, "scratch": 4}, unlabelled=3)
    return project


def count_jobs() -> int:
    with new_session() as session:
        return session.scalar(select(func.count()).select_from(Job))


def draw_boxes(project: Project, actor: Actor) -> None:
    """Give a project three images, two of them with boxes."""
    add_images(project, {}, unlabelled=3)
    with transaction() as session:
        images = list(session.scalars(select(Image).where(Image.project_id == project.id)))
        category_id = session.scalar(select(Category.id).where(Category.project_id == project.id))
        box = AnnotationValue(category_id=category_id, box=Box(xmin=1, ymin=2, xmax=9, ymax=9))
        for image in images[:2]:
            set_shapes(
                session,
                actor=actor,
                project_id=project.id,
                image_id=image.id,
                annotations=[box, box],
                nothing_to_label=False,
            )


HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}


# --- the screen ------------------------------------------------------------------------------------------------------


def test_an_empty_project_says_what_to_do_and_offers_no_button(browser: TestClient, project: Project) -> None:
    page = browser.get(f"/projects/{project.id}/train")
    assert page.status_code == 200
    assert "No image has a label yet" in page.text
    assert re.search(r"<button[^>]* disabled[^>]*>(?:(?!</button>).)*Train", page.text, re.S)


def test_one_sentence_says_what_will_happen(browser: TestClient, labelled: Project) -> None:
    text = browser.get(f"/projects/{labelled.id}/train").text
    sentence = " ".join(re.search(r'<p id="train-what">(.*?)</p>', text, re.S)[1].split())
    assert sentence.startswith("10 labelled images in 2 classes, about ")
    assert " seconds on this machine." in sentence
    assert sentence.endswith("Then it predicts the 3 unlabelled images too.")


def test_each_type_says_what_it_still_needs(browser: TestClient, owner: Actor) -> None:
    tiles = factories.make_project(owner, "Tiles", ("normal", "abnormal"), TaskType.ANOMALY)
    plates = factories.make_project(owner, "Plates", ("dent",), TaskType.DETECTION)

    def sentence(project: Project) -> str:
        page = browser.get(f"/projects/{project.id}/train").text
        return " ".join(re.search(r'<p id="train-what">(.*?)</p>', page, re.S)[1].split())

    add_images(tiles, {"normal": 9})
    assert "at least 10 images of them; 9 are labelled so" in sentence(tiles)
    add_images(tiles, {"normal": 1}, size_px=65)
    assert sentence(tiles).startswith("10 labelled images in 2 classes, about")  # good ones alone are enough
    assert "No image has a label yet" in sentence(plates)
    draw_boxes(plates, owner)
    assert sentence(plates).startswith("2 labelled images in 1 class, about")
    assert sentence(plates).endswith("Then it predicts the 1 unlabelled image too.")


def test_the_page_needs_few_statements(browser: TestClient, labelled: Project, count_statements) -> None:
    with count_statements() as counted:
        assert browser.get(f"/projects/{labelled.id}/train").status_code == 200
    assert counted.n <= 4, counted.statements  # who asks, the project, its classes, its trainings
    job_id = make_job(labelled.id, state="running", started_at=utc_now())
    for path, at_most in (("", 5), (f"/{job_id}/card", 4)):
        with count_statements() as counted:
            browser.get(f"/projects/{labelled.id}/train{path}")
        assert counted.n <= at_most, counted.statements
    with count_statements() as counted:
        browser.get("/jobs/running")
    assert counted.n <= 2, counted.statements


def test_symmetries_are_shown_on_an_image_of_the_project(browser: TestClient, labelled: Project) -> None:
    page = browser.get(f"/projects/{labelled.id}/train").text
    sources = set(re.findall(r'<image href="([^"]+)"', page))
    assert len(sources) == 1
    assert browser.get(sources.pop()).status_code == 200


def test_changes_while_learning_are_previewed_and_reach_the_job(browser: TestClient, owner: Actor) -> None:
    plates = factories.make_project(owner, "Plates", ("dent",), TaskType.DETECTION)
    draw_boxes(plates, owner)
    stem = f"/projects/{plates.id}/train"
    source = unescape(re.search(r'<img class="changes__picture" src="([^"]+)"', browser.get(stem).text)[1])
    sheets = [browser.get(source), browser.get(source), browser.get(f"{source}?noise=0&zoom=0&symmetry=identity")]
    sizes = [Picture.open(io.BytesIO(sheet.content)).size for sheet in sheets]
    assert sizes == [(changes.WIDTH_PX, changes.HEIGHT_PX)] * 3
    assert sheets[0].content == sheets[1].content != sheets[2].content
    still = dict.fromkeys((card.field for card in AUGMENTATIONS), "0") | {"symmetry": "identity"}
    tiles = np.asarray(Picture.open(io.BytesIO(browser.get(f"{source}?{urlencode(still)}").content)))
    assert (tiles[: changes.TILE_PX, : changes.TILE_PX] == tiles[-changes.TILE_PX :, -changes.TILE_PX :]).all()
    partial = browser.get(f"{source.removesuffix('.png')}?blur_px=2&seed=7&name=", headers=HTMX)
    assert "blur_px=2.0" in unescape(partial.text)
    assert browser.get(f"{source}?zoom=500", headers=HTMX).status_code == 422
    assert browser.get(f"{stem}/changes/999.png").status_code == 404
    assert browser.post(stem, data={"blur_px": "1.5", "zoom": "10"}).status_code == 303
    with new_session() as session:
        spec = TrainSpec.model_validate(session.scalars(select(Job)).one().spec)
    assert spec.augmentations == Augmentations(blur_px=1.5, zoom=0.1)
    assert "blur 1.5 px" in browser.get(stem).text


def test_what_is_solved_exactly_takes_no_changes_and_fine_tuning_does(browser: TestClient, labelled: Project) -> None:
    stem = f"/projects/{labelled.id}/train"
    assert "Used by fine-tuning alone" in browser.get(stem).text
    answer = browser.post(stem, data={"noise": "3"}, headers=HTMX)
    assert answer.status_code == 422
    assert "solved exactly" in answer.text
    assert browser.post(stem, data={"noise": "3", "method": "fine_tuning"}, headers=HTMX).status_code == 201
    with new_session() as session:
        spec = TrainSpec.model_validate(session.scalars(select(Job)).one().spec)
    assert (spec.method, spec.augmentations.noise) == ("fine_tuning", 3)
    assert "Fine-tuning" in browser.get(stem).text


def test_train_without_script_queues_one_job_and_goes_back(
    browser: TestClient, labelled: Project, queue: InlineQueue
) -> None:
    answer = browser.post(f"/projects/{labelled.id}/train", data={})
    assert answer.status_code == 303
    job_id = answer.headers["location"].partition("#job-")[2]
    assert queue.sent == [("jobs.train", job_id, "gpu")]
    row = read_job(UUID(job_id))
    assert (row.state, row.spec["backbone"]) == ("queued", "auto")
    assert row.sent_at is not None
    page = browser.get(answer.headers["location"])
    assert "Waiting for a worker" in page.text
    assert 'hx-trigger="every 2s"' in page.text


def test_a_second_click_starts_no_second_training(browser: TestClient, labelled: Project, queue: InlineQueue) -> None:
    for _ in range(2):
        assert browser.post(f"/projects/{labelled.id}/train", data={}, headers=HTMX).status_code == 201
    assert count_jobs() == 1
    assert len(queue.sent) == 1
    assert browser.post(f"/projects/{labelled.id}/train", data={"seed": "7"}, headers=HTMX).status_code == 201
    assert count_jobs() == 2


@pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "plain"])
def test_too_few_images_of_a_class_start_nothing(
    browser: TestClient, project: Project, queue: InlineQueue, headers: dict[str, str]
) -> None:
    add_images(project, {"good": 5, "scratch": 1})
    page = browser.get(f"/projects/{project.id}/train")
    assert "“scratch” (1)" in page.text
    answer = browser.post(f"/projects/{project.id}/train", data={}, headers=headers)
    assert answer.status_code == 422
    assert "scratch" in answer.text
    assert count_jobs() == 0
    assert queue.sent == []


def test_a_choice_that_the_catalog_lacks_is_refused(browser: TestClient, labelled: Project) -> None:
    for field, value in {"backbone": "alexnet", "symmetry": "mirror", "image_size_px": "12", "unheard_of": "1"}.items():
        answer = browser.post(f"/projects/{labelled.id}/train", data={field: value}, headers=HTMX)
        assert answer.status_code == 422, field
    assert count_jobs() == 0


def test_choices_reach_the_job(browser: TestClient, labelled: Project) -> None:
    form = {
        "name": "Night shift",
        "backbone": "efficientnet_lite1",
        "image_size_px": "320",
        "resize": "letterbox",
        "symmetry": "flips",
        "seed": "5",
        "time_budget_min": "2.5",
    }
    assert browser.post(f"/projects/{labelled.id}/train", data=form).status_code == 303
    with new_session() as session:
        spec = session.scalars(select(Job)).one().spec
    assert (spec["name"], spec["image_size_px"], spec["time_budget_s"]) == ("Night shift", 320, 150)
    assert (spec["resize"], spec["symmetry"], spec["seed"]) == ("letterbox", "flips", 5)


def test_blank_fields_of_the_form_are_as_good_as_untouched(browser: TestClient, labelled: Project) -> None:
    form = dict.fromkeys(("name", "image_size_px", "seed", "time_budget_min"), " ")
    assert browser.post(f"/projects/{labelled.id}/train", data=form).status_code == 303


def test_the_card_of_a_running_job_shows_stages_curve_log_and_stop(browser: TestClient, labelled: Project) -> None:
    browser.post(f"/projects/{labelled.id}/train", data={})
    with new_session() as session:
        job_id = session.scalars(select(Job.id)).one()
    set_job(job_id, state="running", started_at=utc_now(), stage="Fitting", message="Fold 2 of 5", fraction=0.4)
    with transaction() as session:
        said = [
            Progress(stage="Starting", fraction=0),
            Progress(stage="Fitting", fraction=0.3),
            MetricPoint(name="cv_auroc", x=0.5, y=0.8),
            MetricPoint(name="cv_auroc", x=1.0, y=0.9),
            LogLine(text="<script>alert(1)</script>", level="warning"),
        ]
        job_events.add(session, job_id, said)
    card = browser.get(f"/projects/{labelled.id}/train/{job_id}/card").text
    assert "Fold 2 of 5" in card
    assert 'aria-current="step"' in card
    assert "<polyline" in card
    assert "&lt;script&gt;" in card
    assert "<script" not in card
    assert "Stop" in card
    assert f'id="job-{job_id}"' in card
    running = browser.get("/jobs/running").text
    assert "Training 40 %" in running


def test_stop_ends_a_waiting_job_at_once_and_asks_a_running_one(browser: TestClient, labelled: Project) -> None:
    waiting, busy, done = make_job(labelled.id), make_job(labelled.id, state="running"), make_job(labelled.id)
    set_job(done, state="succeeded", ended_at=utc_now())
    base = f"/projects/{labelled.id}/train"
    assert browser.post(f"{base}/{waiting}/cancel", headers=HTMX).status_code == 200
    assert read_job(waiting).state == "cancelled"
    for _ in range(2):  # asking twice changes nothing
        assert browser.post(f"{base}/{busy}/cancel", headers=HTMX).status_code == 200
        assert read_job(busy).state == "cancelling"
    assert read_job(busy).stop_asked_at is not None
    assert browser.post(f"{base}/{done}/cancel", headers=HTMX).status_code == 409


def test_a_terminal_card_asks_for_nothing_any_more(browser: TestClient, labelled: Project) -> None:
    for state in ("succeeded", "failed", "cancelled"):
        job_id = make_job(labelled.id, state=state, message="Because.", ended_at=utc_now())
        card = browser.get(f"/projects/{labelled.id}/train/{job_id}/card").text
        assert "every 2s" not in card
        assert browser.get(f"/projects/{labelled.id}/train/{job_id}").status_code == 200
    page = browser.get(f"/projects/{labelled.id}/train").text
    assert page.count("<tr>") == 4  # a head and three former trainings
    assert "Because." in page


def test_a_viewer_looks_on(browser_as, people: dict[Role, Actor], labelled: Project) -> None:
    viewer = browser_as(people[Role.VIEWER])
    assert "may look on" in viewer.get(f"/projects/{labelled.id}/train").text
    assert viewer.post(f"/projects/{labelled.id}/train", data={}).status_code == 403
    job_id = make_job(labelled.id, state="running")
    assert "Stop" not in viewer.get(f"/projects/{labelled.id}/train/{job_id}/card").text
    assert viewer.post(f"/projects/{labelled.id}/train/{job_id}/cancel").status_code == 403


def test_a_job_is_not_found_through_another_project(browser: TestClient, labelled: Project, owner: Actor) -> None:
    other = factories.make_project(owner, name="Other")
    job_id = make_job(labelled.id)
    for path in ("", "/card"):
        assert browser.get(f"/projects/{other.id}/train/{job_id}{path}").status_code == 404
    for path in ("/cancel", "/delete"):
        assert browser.post(f"/projects/{other.id}/train/{job_id}{path}").status_code == 404


def test_running_jobs_of_closed_projects_stay_unseen(browser_as, people: dict[Role, Actor], labelled: Project) -> None:
    with transaction() as session:
        session.get(Project, labelled.id).is_invite_only = True
    make_job(labelled.id, state="running")
    assert "Training" in browser_as(people[Role.OWNER]).get("/jobs/running").text
    assert "Training" not in browser_as(people[Role.LABELER]).get("/jobs/running").text


def test_an_ended_job_can_be_removed_and_a_running_one_cannot(browser: TestClient, labelled: Project) -> None:
    ended, busy = make_job(labelled.id, state="failed", ended_at=utc_now()), make_job(labelled.id, state="running")
    base = f"/projects/{labelled.id}/train"
    assert browser.post(f"{base}/{ended}/delete").status_code == 303
    assert browser.post(f"{base}/{busy}/delete").status_code == 409
    assert count_jobs() == 1


# --- REST ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, {}, {"model": None}], ids=["none", "empty", "null model"])
def test_the_one_click_training_over_rest(
    program: TestClient, labelled: Project, queue: InlineQueue, body: dict | None
) -> None:
    if body == {"model": None}:
        answer = program.post(
            f"/v1/projects/{labelled.id}/train", content="null", headers={"Content-Type": "application/json"}
        )
    else:
        answer = program.post(f"/v1/projects/{labelled.id}/train", json=body)
    assert answer.status_code == 200, answer.text
    training_id = answer.json()["data"]["trainingId"]
    assert queue.sent == [("jobs.train", training_id, "gpu")]
    status = program.get(f"/v1/projects/{labelled.id}/train/{training_id}/status").json()["data"]
    assert (status["status"], status["progress"]) == ("CREATED", 0.0)
    listed = program.get(f"/v1/projects/{labelled.id}/train").json()["data"]
    assert [(item["id"], item["status"]) for item in listed] == [(training_id, "CREATED")]


def test_the_contracts_body_is_understood_and_what_is_of_no_use_is_said(program: TestClient, labelled: Project) -> None:
    body = {
        "name": "From a script",
        "model": {"architecture": "efficientnet_lite0", "hyperParams": {"epochs": 20}},
        "transforms": {
            "preprocessing": [{"rescaleWithPadding": {"height": 256, "width": 192, "paddingValue": 0}}],
            "augmentations": [{"horizontalFlip": {"p": 0.5}}],
        },
    }
    answer = program.post(f"/v1/projects/{labelled.id}/train", json=body).json()["data"]
    spec = read_job(UUID(answer["trainingId"])).spec
    assert (spec["name"], spec["backbone"]) == ("From a script", "efficientnet_lite0")
    assert (spec["image_size_px"], spec["resize"]) == (256, "letterbox")
    assert len(answer["notes"]) == 2


def test_rest_refuses_what_cannot_be_trained(program: TestClient, project: Project) -> None:
    url = f"/v1/projects/{project.id}/train"
    empty = program.post(url)
    assert empty.status_code == 422
    assert empty.json()["type"] == "/problems/dataset_not_ready"
    unknown = program.post(url, json={"model": {"architecture": "alexnet"}})
    assert unknown.status_code == 422
    assert unknown.json()["type"] == "/problems/unknown_choice"
    tiny = program.post(url, json={"transforms": {"preprocessing": [{"resize": {"height": 8, "width": 8}}]}})
    assert tiny.status_code == 422
    assert count_jobs() == 0


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"state": "queued"}, "CREATED"),
        ({"state": "running", "stage": "Starting"}, "STARTING"),
        ({"state": "running", "stage": "Features"}, "TRAINING"),
        ({"state": "running", "stage": "Evaluation"}, "EVALUATING"),
        ({"state": "running", "stage": "Publishing"}, "PUBLISHING"),
        ({"state": "cancelling", "stage": "Fitting"}, "TRAINING"),
        ({"state": "succeeded"}, "SUCCEEDED"),
        ({"state": "failed"}, "FAILED"),
        ({"state": "cancelled"}, "FAILED"),
    ],
)
def test_every_state_has_a_word_of_the_contract(
    program: TestClient, project: Project, values: dict[str, str], status: str
) -> None:
    job_id = make_job(project.id, **values)
    answer = program.get(f"/v1/projects/{project.id}/train/{job_id}/status")
    assert answer.json()["data"]["status"] == status
    assert answer.json()["data"]["state"] == values["state"]


def test_architectures_come_from_the_catalog_without_the_toy(program: TestClient, project: Project) -> None:
    names = [item["name"] for item in program.get(f"/v1/projects/{project.id}/train/architectures").json()["data"]]
    assert names[0] == "auto"
    assert "efficientnet_lite0" in names
    assert "toy" not in names


def test_cancel_and_delete_over_rest(program: TestClient, project: Project) -> None:
    job_id = make_job(project.id)
    url = f"/v1/projects/{project.id}/train/{job_id}"
    assert program.delete(url).status_code == 409
    assert program.post(f"{url}/cancel").json()["data"]["state"] == "cancelled"
    assert program.delete(url).status_code == 204
    assert program.get(f"{url}/status").status_code == 404
    assert program.post(f"/v1/projects/{project.id}/train/{uuid4()}/cancel").status_code == 404


def test_broker_away_keeps_the_job(program: TestClient, labelled: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.core.errors import Unavailable
    from app.queue import current

    class Away:
        def send(self, task: str, argument: str, *, queue: str) -> None:
            raise Unavailable("The job queue cannot be reached.")

    before = current.use(Away())
    try:
        answer = program.post(f"/v1/projects/{labelled.id}/train")
    finally:
        current.use(before)
    assert answer.status_code == 200
    row = read_job(UUID(answer.json()["data"]["trainingId"]))
    assert (row.state, row.sent_at) == ("queued", None)
