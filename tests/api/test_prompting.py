"""Visual prompting: strokes are kept or refused with words, runs mark every image, masks become labels and drafts."""

import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import func, select

from app.accounts.permissions import Actor, Role
from app.annotations import shapes as shape_service
from app.annotations.prompting import runs
from app.catalog import BACKBONES
from app.contracts.jobs import JobKind, JobState, TrainSpec
from app.contracts.strokes import MAX_STROKE_POINTS, MAX_STROKES
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.db.session import new_session, transaction
from app.db.tables import (
    Annotation,
    AuditEvent,
    Image,
    ImageStrokes,
    Job,
    ModelVersion,
    Prediction,
    Project,
    PromptedMasks,
)
from app.images import uploading
from app.images.labels import Extras
from app.jobs import service as job_service
from tests import factories
from worker.runtime import prompting
from worker.runtime.claims import claim
from worker.tasks import train

AS_KIZU = {"X-Requested-With": "kizu"}
AS_HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}
SIDE = 128
N_IMAGES = 6
SPOT = (40, 70)  # left and top of the spot on the first image; it moves by 6 px from one image to the next
SPOT_PX = 28


@pytest.fixture
def tiles(owner: Actor) -> Project:
    return factories.make_project(owner, "Tiles", ("dent",), TaskType.SEGMENTATION)


@pytest.fixture
def ids(owner: Actor, tiles: Project) -> list[int]:
    """Grey pictures with a bright spot each; on the last there is none."""
    files = []
    for number in range(N_IMAGES):
        pixels = np.random.default_rng(number).normal(90, 5, (SIDE, SIDE))
        if number < N_IMAGES - 1:
            left, top = SPOT[0] + 6 * number, SPOT[1] - 6 * number
            pixels[top : top + SPOT_PX, left : left + SPOT_PX] += 110
        out = io.BytesIO()
        Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "PNG")
        out.seek(0)
        files.append((f"tile-{number}.png", out))
    outcome = uploading.upload(actor=owner, project_id=tiles.id, files=files, extras=Extras())
    return [fate.image_id for fate in outcome.fates if fate.image_id]


@pytest.fixture
def dent(tiles: Project) -> int:
    return class_of(tiles)


def class_of(project: Project) -> int:
    from app.projects import service as project_service

    with new_session() as session:
        return project_service.list_categories(session, project.id)[0].id


def stroke(category_id: int | None, *points: float, radius_px: float = 6) -> dict:
    return {"category_id": category_id, "radius_px": radius_px, "points": list(points)}


def put(browser: TestClient, project: Project, image_id: int, strokes: list, version: int = 0):
    url = f"/projects/{project.id}/prompt/{image_id}/strokes"
    return browser.put(url, json={"version": version, "strokes": strokes}, headers=AS_KIZU)


def get(browser: TestClient, project: Project, image_id: int) -> dict:
    return browser.get(f"/projects/{project.id}/prompt/{image_id}/strokes", headers=AS_KIZU).json()


def painted(browser: TestClient, project: Project, ids: list[int], dent: int) -> None:
    """Show the spot of the first image, and what is none."""
    middle = [SPOT[0] + 8, SPOT[1] + 14, SPOT[0] + 20, SPOT[1] + 14]
    assert put(browser, project, ids[0], [stroke(dent, *middle), stroke(None, 10, 10, 110, 20)]).status_code == 200


def run(browser: TestClient, project: Project) -> None:
    """Ask for masks, and work as the worker does, with the toy backbone."""
    answer = browser.post(f"/projects/{project.id}/prompt/run", headers=AS_HTMX)
    assert answer.status_code == 200, answer.text
    with new_session() as session:
        job = session.scalars(select(Job).where(Job.kind == JobKind.PROMPT, Job.state == JobState.QUEUED)).one()
    with claim(job.id) as claimed:
        assert claimed is not None
        prompting.run(claimed, card=BACKBONES["toy"])
    with new_session() as session:
        assert session.get_one(Job, job.id).state == JobState.SUCCEEDED, session.get_one(Job, job.id).message


def test_strokes_are_kept_with_a_version_and_read_back(
    browser: TestClient, tiles: Project, ids: list[int], dent: int
) -> None:
    assert get(browser, tiles, ids[0]) == {"version": 0, "strokes": [], "changed_by": None}
    own = [stroke(dent, 10, 20, 30.5, 40), stroke(None, 0, 0)]
    assert put(browser, tiles, ids[0], own).json() == {"version": 1}
    assert put(browser, tiles, ids[0], own).json() == {"version": 1}  # sent twice, it changes once
    assert get(browser, tiles, ids[0])["strokes"] == own
    assert put(browser, tiles, ids[0], own[:1], version=1).json() == {"version": 2}
    with new_session() as session:
        events = session.scalar(select(func.count()).where(AuditEvent.action == "image.prompt"))
        assert session.get_one(ImageStrokes, ids[0]).n_strokes == 1
    assert events == 2


def test_of_two_people_nobody_overwrites_the_other_unseen(
    browser: TestClient, tiles: Project, ids: list[int], dent: int
) -> None:
    put(browser, tiles, ids[0], [stroke(dent, 1, 1)])
    for version in (0, 7):
        refused = put(browser, tiles, ids[0], [], version=version)
        assert refused.status_code == 409
        assert refused.json()["current"]["version"] == 1
        assert len(refused.json()["current"]["strokes"]) == 1
    assert len(get(browser, tiles, ids[0])["strokes"]) == 1


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"points": [10, 400]}, "128 x 128"),
        ({"points": [-1, 5]}, "greater than or equal to 0"),
        ({"points": [1, 2, 3]}, "x, y, x, y"),
        ({"points": []}, "one point or more"),
        ({"points": [1, 1] * (MAX_STROKE_POINTS + 1)}, "at most 2,000 points"),
        ({"radius_px": 0}, "greater than or equal to 0.5"),
        ({"category_id": 999_999}, "no such class"),
        ({"colour": "red"}, "not permitted"),
    ],
)
def test_bad_strokes_are_refused_with_words(
    browser: TestClient, tiles: Project, ids: list[int], dent: int, bad: dict, says: str
) -> None:
    refused = put(browser, tiles, ids[0], [stroke(dent, 5, 5), {**stroke(dent, 5, 5), **bad}])
    assert refused.status_code == 422
    assert says in json.dumps(refused.json())
    assert get(browser, tiles, ids[0])["strokes"] == []


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(
    browser: TestClient, tiles: Project, ids: list[int], dent: int, literal: str
) -> None:
    body = f'{{"version": 0, "strokes": [{{"category_id": {dent}, "radius_px": 5, "points": [{literal}, 5]}}]}}'
    url = f"/projects/{tiles.id}/prompt/{ids[0]}/strokes"
    refused = browser.put(url, content=body, headers={**AS_KIZU, "Content-Type": "application/json"})
    assert refused.status_code == 422


def test_too_many_strokes_are_refused_at_once(browser: TestClient, tiles: Project, ids: list[int], dent: int) -> None:
    refused = put(browser, tiles, ids[0], [stroke(dent, 5, 5)] * (MAX_STROKES + 1))
    assert refused.status_code == 422
    assert "at most 400 strokes" in refused.text
    refused = put(browser, tiles, ids[0], [stroke(dent, *([5, 5] * 2_000))] * 11)
    assert "20,000 points together" in refused.text


def test_what_is_not_there_answers_404(
    browser: TestClient, owner: Actor, tiles: Project, ids: list[int], dent: int
) -> None:
    other = factories.make_project(owner, "Other", ("dent",), TaskType.SEGMENTATION)
    parts = factories.make_project(owner, "Parts")
    assert put(browser, other, ids[0], []).status_code == 404
    assert browser.get(f"/projects/{other.id}/prompt?image={ids[0]}").status_code in {200, 404}
    assert browser.get(f"/projects/{other.id}/prompt/{ids[0]}/masks").status_code == 404
    assert browser.get(f"/projects/{parts.id}/prompt").status_code == 404


def test_a_run_needs_a_stroke_of_a_class(browser: TestClient, tiles: Project, ids: list[int]) -> None:
    put(browser, tiles, ids[0], [stroke(None, 5, 5)])
    refused = browser.post(f"/projects/{tiles.id}/prompt/run", headers=AS_HTMX)
    assert refused.status_code == 422
    assert "Paint a stroke of a class first" in refused.text


def test_a_labeler_may_paint_and_run_a_viewer_may_look(
    browser_as: Callable[[Actor], TestClient], people: dict, tiles: Project, ids: list[int], dent: int
) -> None:
    labeler, viewer = browser_as(people[Role.LABELER]), browser_as(people[Role.VIEWER])
    assert put(labeler, tiles, ids[0], [stroke(dent, 50, 80)]).status_code == 200
    assert labeler.post(f"/projects/{tiles.id}/prompt/run", headers=AS_HTMX).status_code == 200
    assert put(viewer, tiles, ids[0], [], version=1).status_code == 403
    assert viewer.post(f"/projects/{tiles.id}/prompt/run").status_code == 403
    assert viewer.post(f"/projects/{tiles.id}/prompt/use").status_code == 403
    page = viewer.get(f"/projects/{tiles.id}/prompt")
    assert page.status_code == 200
    assert "read-only" in page.text
    assert "prompt-run-form" not in page.text


def test_from_strokes_to_masks_on_every_image_to_labels_and_back(
    browser: TestClient, tiles: Project, ids: list[int], dent: int
) -> None:
    painted(browser, tiles, ids, dent)
    run(browser, tiles)
    with new_session() as session:
        found = {one.image_id: one for one in session.scalars(select(PromptedMasks))}
    assert set(found) == set(ids)
    assert not found[ids[-1]].masks
    for number, image_id in enumerate(ids[:-1]):
        best = found[image_id].masks[0]
        assert best["category_id"] == dent
        mask = best["mask"]
        assert abs(mask["xmin"] - (SPOT[0] + 6 * number)) <= 8, (number, mask)
        assert abs(mask["ymin"] - (SPOT[1] - 6 * number)) <= 8, (number, mask)
        assert abs(mask["width"] - SPOT_PX) <= 16
    page = browser.get(f"/projects/{tiles.id}/prompt").text
    assert "Masks on 5 of 6 images" in page
    assert page.count("marks__mask") >= 5
    assert "marks__mask" in browser.get(f"/projects/{tiles.id}/prompt/{ids[1]}/masks").text
    drafts = browser.get(f"/projects/{tiles.id}/label/{ids[1]}/drafts").json()
    assert drafts["shapes"][0]["mask"] == found[ids[1]].masks[0]["mask"]
    assert "drafts-href" in browser.get(f"/projects/{tiles.id}/label?image={ids[1]}").text

    used = browser.post(f"/projects/{tiles.id}/prompt/use", data={"nothing_elsewhere": "true"}, headers=AS_HTMX)
    assert "6 images labelled from masks" in used.text
    with new_session() as session:
        shapes = shape_service.annotations_of(session, ids)
        images = list(session.scalars(select(Image).where(Image.id.in_(ids)).order_by(Image.id)))
    assert set(shapes) == set(ids[:-1])
    assert all(image.is_labelled for image in images)
    assert images[-1].shape_classes == shape_service.NOTHING
    again = browser.post(f"/projects/{tiles.id}/prompt/use", headers=AS_HTMX)
    assert again.status_code == 422

    change = used.text.split('name="change" value="')[1].split('"')[0]
    assert (
        browser.post(f"/projects/{tiles.id}/prompt/undo", data={"change": change}, headers=AS_HTMX).status_code == 200
    )
    with new_session() as session:
        assert not session.scalar(select(func.count()).select_from(Annotation))
        assert not session.scalar(select(func.count()).where(Image.is_labelled.is_(True)))


def test_labels_that_are_there_are_never_overwritten(
    browser: TestClient, tiles: Project, ids: list[int], dent: int
) -> None:
    own = {"category_id": dent, "mask": {"xmin": 3, "ymin": 3, "width": 2, "height": 2, "counts": "4N"}}
    url = f"/projects/{tiles.id}/label/{ids[1]}/shapes"
    assert browser.put(url, json={"version": 0, "shapes": [own]}, headers=AS_KIZU).status_code == 200
    painted(browser, tiles, ids, dent)
    run(browser, tiles)
    assert "4 images labelled" in browser.post(f"/projects/{tiles.id}/prompt/use", headers=AS_HTMX).text
    with new_session() as session:
        (kept,) = shape_service.annotations_of(session, [ids[1]])[ids[1]]
    assert kept.mask is not None
    assert kept.mask.width == 2


def test_a_newer_run_takes_the_place_of_an_older_one(
    browser: TestClient, owner: Actor, tiles: Project, ids: list[int], dent: int
) -> None:
    painted(browser, tiles, ids, dent)
    with transaction() as session:
        running = Job(project_id=tiles.id, kind=JobKind.PROMPT, state=JobState.RUNNING, spec={}, heartbeat_at=utc_now())
        session.add(running)
    with transaction() as session:
        first = runs.start_run(session, actor=owner, project_id=tiles.id).id
    with transaction() as session:
        assert runs.start_run(session, actor=owner, project_id=tiles.id).id == first  # it waits: it reads these strokes
        assert session.get_one(Job, running.id).state == JobState.CANCELLING
        session.delete(session.get_one(Job, first))
    run(browser, tiles)
    with new_session() as session:
        kept = list(session.scalars(select(Job).where(Job.kind == JobKind.PROMPT)))
        assert {one.state for one in kept} <= {JobState.SUCCEEDED, JobState.CANCELLING}
    assert "job-" not in browser.get(f"/projects/{tiles.id}/train").text.split('id="job-list"')[-1][:200]


def test_strokes_of_a_class_that_is_gone_teach_nothing(
    browser: TestClient, owner: Actor, tiles: Project, ids: list[int], dent: int
) -> None:
    from app.projects import service as project_service

    painted(browser, tiles, ids, dent)
    run(browser, tiles)
    with transaction() as session:
        project_service.delete_category(session, actor=owner, project_id=tiles.id, category_id=dent)
    page = browser.get(f"/projects/{tiles.id}/prompt")
    assert page.status_code == 200
    assert "marks__mask" not in page.text
    assert browser.get(f"/projects/{tiles.id}/label/{ids[1]}/drafts").json()["shapes"] == []


def test_strokes_become_a_model_that_is_deployed_like_any_other(
    browser: TestClient, owner: Actor, tiles: Project, ids: list[int], dent: int
) -> None:
    assert browser.post(f"/projects/{tiles.id}/prompt/model", headers=AS_HTMX).status_code == 422
    painted(browser, tiles, ids, dent)
    asked = browser.post(f"/projects/{tiles.id}/prompt/model", headers=AS_HTMX)
    assert asked.headers["HX-Redirect"].startswith(f"/projects/{tiles.id}/train#job-")
    spec = TrainSpec(method="visual_prompting", backbone="toy")
    with transaction() as session:
        job = job_service.start_training(session, actor=owner, project_id=tiles.id, spec=spec)
    train.train(str(job.id))
    with new_session() as session:
        assert session.get_one(Job, job.id).state == JobState.SUCCEEDED, session.get_one(Job, job.id).message
        model = session.scalars(select(ModelVersion)).one()
        found = {one.image_id: one for one in session.scalars(select(Prediction))}
    assert model.manifest["lineage"]["method"] == "visual_prompting"
    assert model.manifest["parity"]["n_images"] == 1
    assert model.manifest["parity"]["max_score_difference"] < 1e-3
    assert set(found) == set(ids)
    mask = found[ids[2]].shapes[0]["mask"]
    assert abs(mask["xmin"] - (SPOT[0] + 12)) <= 8
    assert not found[ids[-1]].shapes
    for page in (f"models/{model.id}", "models", f"train/{job.id}", f"models/{model.id}/images/{ids[1]}", "deploy/new"):
        answer = browser.get(f"/projects/{tiles.id}/{page}", follow_redirects=True)
        assert answer.status_code == 200, (page, answer.text[:300])
