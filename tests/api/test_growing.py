"""A project that grows: the same images in a project of another type, their files shared until nobody needs them."""

import io
from datetime import timedelta

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import select, update

from app.accounts.permissions import Actor
from app.contracts.shapes import Mask
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.core.errors import Invalid
from app.datasets import service as dataset_service
from app.db.session import new_session, transaction
from app.db.tables import Image, ImageTag, Project, Tag
from app.db.visibility import WITH_DELETED
from app.images import growing
from app.images import service as image_service
from app.inference.rasters import decode_mask
from app.projects import service as project_service
from app.storage.current import blobs
from tests import factories

CLASSES = ("good", "scratch", "dent")


@pytest.fixture(autouse=True)
def every_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_service, "SUPPORTED_TASKS", frozenset(TaskType))


@pytest.fixture
def source(owner: Actor, program: TestClient) -> Project:
    """Seven pictures, two of each class and one without; one is tagged, all of one split."""
    project = factories.make_project(owner, "Housings", CLASSES)
    url = f"/v1/projects/{project.id}/images"
    for number, label in enumerate((*CLASSES, *CLASSES, None)):
        data = {"split": "test", **({"label": label} if label else {}), **({"tags": "lot 7"} if number == 1 else {})}
        files = {"file": (f"{number}.png", factories.picture_bytes(number), "image/png")}
        assert program.post(url, files=files, data=data).status_code == 201
    return project


def grow(owner: Actor, source: Project, task: TaskType, selection: list[int] | None = None) -> Project:
    with transaction() as session:
        return growing.grow(session, actor=owner, source_id=source.id, name="Grown", task=task, selection=selection)


def images_of(project: Project) -> list[Image]:
    with new_session() as session:
        return list(session.scalars(select(Image).where(Image.project_id == project.id).order_by(Image.name)))


def names_of(project: Project) -> dict[int, str]:
    with new_session() as session:
        return {one.id: one.name for one in project_service.list_categories(session, project.id)}


def test_classes_are_carried_by_name_and_no_file_is_copied(owner: Actor, source: Project) -> None:
    grown = grow(owner, source, TaskType.CLASSIFICATION)
    names, before, after = names_of(grown), images_of(source), images_of(grown)
    assert [names.get(one.category_id) for one in after] == ["good", "scratch", "dent"] * 2 + [None]
    for old, new in zip(before, after, strict=True):
        assert (new.sha256, new.blob_key, new.split, new.name) == (old.sha256, old.blob_key, old.split, old.name)
        assert (new.is_labelled, new.labelled_at, new.labelled_by_id) == (
            old.is_labelled,
            old.labelled_at,
            old.labelled_by_id,
        )
    with new_session() as session:
        tagged = session.execute(select(Tag.name, ImageTag.image_id).join(ImageTag).where(Tag.project_id == grown.id))
        assert tagged.all() == [("lot 7", after[1].id)]


def test_to_an_anomaly_project_everything_but_good_is_abnormal(owner: Actor, source: Project) -> None:
    grown = grow(owner, source, TaskType.ANOMALY)
    names = names_of(grown)
    found = [names.get(one.category_id) for one in images_of(grown)]
    assert found == ["Normal", "Abnormal", "Abnormal"] * 2 + [None]


@pytest.mark.parametrize("task", [TaskType.DETECTION, TaskType.SEGMENTATION])
def test_for_shapes_good_images_have_nothing_to_label(
    owner: Actor, program: TestClient, source: Project, task: TaskType
) -> None:
    grown = grow(owner, source, task)
    assert sorted(names_of(grown).values()) == ["dent", "scratch"]
    after = images_of(grown)
    assert [one.shape_classes for one in after] == [",", None, None] * 2 + [None]
    assert [one.is_labelled for one in after] == [True, False, False] * 2 + [False]
    labels = program.get(f"/v1/projects/{grown.id}/images/{after[0].id}/labels").json()["data"]
    assert (labels["nothingToLabel"], labels["version"]) == (True, 1)
    assert program.get(f"/v1/projects/{grown.id}/images/{after[0].id}/thumbnail").status_code == 200


def test_chosen_images_and_a_filter_grow_over_both_edges(
    browser: TestClient, program: TestClient, source: Project
) -> None:
    ids = [one.id for one in images_of(source)]
    body = {"name": "By REST", "projectType": "object-detection", "mediaIds": ids[:2]}
    answer = program.post(f"/v1/projects/{source.id}/grow", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["data"]["projectType"] == "object-detection"
    assert program.post(f"/v1/projects/{source.id}/grow", json={**body, "mediaIds": []}).status_code == 422
    dent = next(key for key, name in names_of(source).items() if name == "dent")
    form = {"name": "By page", "task": "segmentation", "everything": "true"}
    answer = browser.post(f"/projects/{source.id}/bulk/grow?class={dent}", data=form)
    assert answer.status_code == 303
    page = browser.get(answer.headers["location"]).text
    assert "2.png" in page
    assert "5.png" in page
    assert "0.png" not in page


def test_masks_come_along_between_segmentation_and_anomalies(owner: Actor, program: TestClient) -> None:
    plates = factories.make_project(owner, "Plates", ("dent", "crack"), TaskType.SEGMENTATION)
    for number, marked in enumerate((True, False, None)):
        values = np.zeros((48, 64), np.uint8)
        values[4:8, 10:20], values[30:33, 40:50] = 1, 2
        out = io.BytesIO()
        Picture.fromarray(values * bool(marked)).save(out, "PNG")
        files = {"file": (f"{number}.png", factories.picture_bytes(number, size=(64, 48)))}
        files |= {} if marked is None else {"label": ("mask.png", out.getvalue())}
        assert program.post(f"/v1/projects/{plates.id}/images", files=files).status_code == 201
    parts = grow(owner, plates, TaskType.ANOMALY)
    names = names_of(parts)
    assert [names.get(one.category_id) for one in images_of(parts)] == ["Abnormal", "Normal", None]
    back = grow(owner, parts, TaskType.SEGMENTATION)
    assert [one.is_labelled for one in images_of(back)] == [True, True, False]
    for project in (parts, back):
        url = f"/v1/projects/{project.id}/images/{images_of(project)[0].id}/labels"
        (label,) = program.get(url).json()["data"]["labels"]
        place = decode_mask(Mask.model_validate(label["mask"]))
        assert (label["className"], place.shape, place.sum()) == ("Abnormal", (29, 40), 40 + 30)


def test_shapes_do_not_grow_and_neither_does_nothing(owner: Actor, source: Project) -> None:
    with pytest.raises(Invalid, match="carry shapes"):
        grow(owner, grow(owner, source, TaskType.DETECTION), TaskType.CLASSIFICATION)
    with pytest.raises(Invalid, match="no image to begin with"):
        grow(owner, factories.make_project(owner, "Empty"), TaskType.ANOMALY)


def purge(project: Project) -> None:
    """Delete every image of a project so long ago that the nightly tidying takes them."""
    with transaction() as session:
        long_ago = utc_now() - timedelta(days=90)
        session.execute(update(Image).where(Image.project_id == project.id).values(deleted_at=long_ago))
    with transaction() as session:
        assert image_service.purge_deleted(session) == 7
    with new_session() as session:
        gone = session.scalars(select(Image.id).where(Image.project_id == project.id), execution_options=WITH_DELETED)
        assert not list(gone)


def test_shared_files_stay_until_no_project_needs_them(owner: Actor, program: TestClient, source: Project) -> None:
    grown = grow(owner, source, TaskType.ANOMALY)
    keys = [one.blob_key for one in images_of(source)]
    purge(source)
    assert all(blobs().exists(key) for key in keys)
    first = images_of(grown)[0]
    assert program.get(f"/v1/projects/{grown.id}/images/{first.id}/file").content == factories.picture_bytes(0)
    purge(grown)
    assert not any(blobs().exists(key) for key in keys)


def test_what_a_version_of_the_grown_project_names_outlives_the_source(owner: Actor, source: Project) -> None:
    grown = grow(owner, source, TaskType.CLASSIFICATION)
    with transaction() as session:
        session.execute(update(Image).where(Image.project_id == grown.id).values(split="train"))
        version = dataset_service.freeze(session, project=session.get(Project, grown.id))
    purge(grown)
    purge(source)
    named = {item.blob_key for item in dataset_service.load_items(version).items}
    assert len(named) == 6
    assert all(blobs().exists(key) for key in named)
