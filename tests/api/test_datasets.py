"""Freezing: what a model learns from is complete, immutable, split alike, and refused in words when too little."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.accounts.permissions import Actor, Role
from app.annotations import service as annotation_service
from app.annotations import shapes as shape_service
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import Box
from app.contracts.tasks import Split, TaskType
from app.datasets import service as dataset_service
from app.datasets.readiness import DatasetNotReady
from app.db.session import transaction
from app.db.tables import DatasetVersion, Image, Project
from app.images import service as image_service
from app.projects import service as project_service
from tests import factories
from tests.browse_data import make_rows


def label(owner: Actor, project: Project, *counts: int, unlabelled: int = 0) -> list[list[int]]:
    """Make rows of images: `counts` of each class, and some without; return the ids of each class."""
    with transaction() as session:
        classes = [category.id for category in project_service.list_categories(session, project.id)]
    groups = []
    for number, (class_id, count) in enumerate(zip(classes, counts, strict=False)):
        ids = make_rows(owner, project.id, count, seed=number)
        with transaction() as session:
            session.execute(Image.__table__.update().where(Image.id.in_(ids)).values(split=None))
            annotation_service.bulk_set_class(
                session, actor=owner, project_id=project.id, selection=ids, category_id=class_id
            )
        groups.append(ids)
    make_rows(owner, project.id, unlabelled, seed=99)
    return groups


def freeze(project: Project) -> DatasetVersion:
    with transaction() as session:
        return dataset_service.freeze(session, project=session.get(Project, project.id))


def test_a_version_holds_labels_splits_and_what_is_unlabelled(owner: Actor, project: Project) -> None:
    good, scratched = label(owner, project, 20, 10, unlabelled=3)
    version = freeze(project)
    dataset = dataset_service.load_items(version)
    assert {item.image_id for item in dataset.items} == {*good, *scratched}
    assert len(dataset.unlabelled) == 3
    assert [category.name for category in dataset.categories] == ["good", "scratch"]
    assert [category.is_good for category in dataset.categories] == [True, False]
    assert (version.number, version.n_images) == (1, 30)
    assert {split: sum(counts.values()) for split, counts in version.counts.items()} == {
        "train": 21,
        "dev": 5,
        "test": 4,
    }
    with transaction(writes=False) as session:
        stored = dict(session.execute(select(Image.id, Image.split).where(Image.category_id.is_not(None))).all())
    assert stored == {item.image_id: item.split for item in dataset.items}


def test_splits_stay_when_more_images_come(owner: Actor, project: Project) -> None:
    label(owner, project, 10, 10)
    before = {item.image_id: item.split for item in dataset_service.load_items(freeze(project)).items}
    with transaction() as session:
        classes = [category.id for category in project_service.list_categories(session, project.id)]
    ids = make_rows(owner, project.id, 12, seed=7)
    with transaction() as session:
        annotation_service.bulk_set_class(
            session, actor=owner, project_id=project.id, selection=ids, category_id=classes[1]
        )
    after = {item.image_id: item.split for item in dataset_service.load_items(freeze(project)).items}
    assert {image_id: after[image_id] for image_id in before} == before
    assert len(after) == 32


def test_nothing_changed_means_the_same_version(owner: Actor, project: Project) -> None:
    (good, _) = label(owner, project, 4, 4)
    first = freeze(project)
    assert freeze(project).id == first.id
    make_rows(owner, project.id, 1, seed=50)  # one more to predict: the same content, another version
    second = freeze(project)
    assert (second.number, second.content_hash) == (2, first.content_hash)
    with transaction() as session:
        image_service.delete_images(session, actor=owner, project_id=project.id, selection=good[:1])
    third = freeze(project)
    assert third.content_hash != first.content_hash
    assert dataset_service.load_items(first).items != dataset_service.load_items(third).items


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((0, 0), ["No image has a label yet", "at least 2 of each class"]),
        ((5, 0), ["“scratch” (0)"]),
        ((5, 1), ["at least 2", "“scratch” (1)"]),
    ],
)
def test_too_few_images_are_said(owner: Actor, project: Project, counts: tuple[int, int], words: list[str]) -> None:
    label(owner, project, *counts)
    with pytest.raises(DatasetNotReady) as caught:
        freeze(project)
    assert all(word in caught.value.detail for word in words)


def test_one_class_is_no_task(owner: Actor) -> None:
    project = factories.make_project(owner, "One", categories=("good",))
    label(owner, project, 5)
    with pytest.raises(DatasetNotReady, match="second class"):
        freeze(project)


def test_a_class_that_is_never_trained_is_said(owner: Actor, project: Project) -> None:
    _, scratched = label(owner, project, 5, 3)
    with transaction() as session:
        image_service.set_split(session, actor=owner, project_id=project.id, selection=scratched, split=Split.TEST)
    with pytest.raises(DatasetNotReady, match="“scratch” is in the train split"):
        freeze(project)


def test_two_of_each_are_enough(owner: Actor, project: Project) -> None:
    label(owner, project, 2, 2)
    counts = freeze(project).counts
    assert [sum(counts[split].values()) for split in ("train", "dev", "test")] == [2, 2, 0]


def test_autosplit_by_rest(program: TestClient, owner: Actor, project: Project) -> None:
    good, _ = label(owner, project, 20, 20)
    url = f"/v1/projects/{project.id}/autosplit"
    with transaction() as session:
        image_service.set_split(session, actor=owner, project_id=project.id, selection=good, split="test")
    shares = {"train": 50, "dev": 25, "test": 25}
    answer = program.post(url, json={"splitPercentages": shares, "selectOption": "without-split"})
    assert answer.json()["data"] == {"train": 10, "dev": 5, "test": 5}
    answer = program.post(url, json={"splitPercentages": shares, "selectOption": "all-labeled"})
    assert answer.json()["data"] == {"train": 20, "dev": 10, "test": 10}
    with transaction(writes=False) as session:
        counts = dict(session.execute(select(Image.split, func.count(Image.id)).group_by(Image.split)).all())
    assert counts == {"train": 20, "dev": 10, "test": 10}
    answer = program.post(url, json={"splitPercentages": {"train": 50, "dev": 25, "test": 26}})
    assert answer.status_code == 422


def test_snapshots_by_rest(program: TestClient, owner: Actor, project: Project) -> None:
    url = f"/v1/projects/{project.id}/dataset/snapshots"
    answer = program.post(url)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/dataset_not_ready")
    label(owner, project, 3, 3)
    made = program.post(url).json()["data"]
    assert (made["version"], made["name"], made["images"]) == (1, "Snapshot 1", 6)
    assert program.get(url).json()["data"] == [made]
    details = program.get(f"{url}/1/metadata").json()["data"]
    assert len(details["items"]) == 6
    assert {one["name"] for one in details["classes"]} == {"good", "scratch"}
    assert program.get(f"{url}/2/metadata").status_code == 404
    other = factories.make_project(owner, "Other")
    assert program.get(f"/v1/projects/{other.id}/dataset/snapshots/1/metadata").status_code == 404


@pytest.mark.parametrize("role", [Role.LABELER, Role.VIEWER])
def test_only_who_may_edit_splits_and_freezes(program: TestClient, owner: Actor, project: Project, role: Role) -> None:
    headers = {"apikey": factories.make_key(owner, role=role)}
    for path in ("autosplit", "dataset/snapshots"):
        assert program.post(f"/v1/projects/{project.id}/{path}", json={}, headers=headers).status_code == 403


# --- shapes and anomalies --------------------------------------------------------------------------------------------


def mark(owner: Actor, project: Project, image_ids: list[int], *class_ids: int) -> None:
    """Put a box of each class on each image; without classes, say that there is nothing to label."""
    shapes = [AnnotationValue(category_id=one, box=Box(xmin=1, ymin=2, xmax=30, ymax=40)) for one in class_ids]
    with transaction() as session:
        for image_id in image_ids:
            shape_service.set_shapes(
                session,
                actor=owner,
                project_id=project.id,
                image_id=image_id,
                annotations=shapes,
                nothing_to_label=not shapes,
            )


def unsplit_rows(owner: Actor, project: Project, n: int, seed: int) -> list[int]:
    ids = make_rows(owner, project.id, n, seed=seed)
    with transaction() as session:
        session.execute(Image.__table__.update().where(Image.id.in_(ids)).values(split=None))
    return ids


def classes_of(project: Project) -> list[int]:
    with transaction(writes=False) as session:
        return [category.id for category in project_service.list_categories(session, project.id)]


def test_a_version_holds_boxes_and_images_without_any(owner: Actor, program: TestClient) -> None:
    project = factories.make_project(owner, "Plates", ("dent", "hole"), TaskType.DETECTION)
    dent, hole = classes_of(project)
    ids = unsplit_rows(owner, project, 33, seed=1)
    mark(owner, project, ids[:10], dent)
    mark(owner, project, ids[10:16], dent, hole)
    mark(owner, project, ids[16:30])
    version = freeze(project)
    dataset = dataset_service.load_items(version)
    by_id = {item.image_id: item for item in dataset.items}
    assert by_id.keys() == set(ids[:30])
    assert {item.image_id for item in dataset.unlabelled} == set(ids[30:])
    assert [(one.category_id, one.kind) for one in by_id[ids[12]].annotations] == [(dent, "box"), (hole, "box")]
    assert by_id[ids[0]].annotations[0].box == Box(xmin=1, ymin=2, xmax=30, ymax=40)
    assert by_id[ids[20]].annotations == ()
    assert {split: counts[str(hole)] for split, counts in version.counts.items()} == {"train": 4, "dev": 1, "test": 1}
    assert {split: counts[str(dent)] for split, counts in version.counts.items()} == {"train": 11, "dev": 3, "test": 2}
    assert freeze(project).number == version.number
    details = program.get(f"/v1/projects/{project.id}/dataset/snapshots/1/metadata").json()["data"]
    item = next(one for one in details["items"] if one["imageId"] == ids[12])
    assert (item["classId"], item["classIds"], item["shapes"]) == (None, [dent, hole], 2)
    mark(owner, project, ids[:1], hole)
    assert freeze(project).content_hash != version.content_hash


def test_a_detector_needs_each_class_on_two_images(owner: Actor) -> None:
    project = factories.make_project(owner, "Plates", (), TaskType.DETECTION)
    with pytest.raises(DatasetNotReady, match="no class yet"):
        freeze(project)
    with transaction() as session:
        category = project_service.add_category(session, project=session.get(Project, project.id), name="dent")
        dent = category.id
    ids = unsplit_rows(owner, project, 5, seed=2)
    mark(owner, project, ids[:1], dent)
    mark(owner, project, ids[1:])
    with pytest.raises(DatasetNotReady, match=r"“dent” \(1\)"):
        freeze(project)


def test_an_anomaly_project_needs_good_images_alone_and_fits_on_no_others(owner: Actor) -> None:
    project = factories.make_project(owner, "Tiles", ("normal", "abnormal"), TaskType.ANOMALY)
    normal, abnormal = label(owner, project, 9, 4, unlabelled=2)
    with pytest.raises(DatasetNotReady, match="at least 10 images of them; 9 are"):
        freeze(project)
    more = unsplit_rows(owner, project, 11, seed=50)
    with transaction() as session:
        annotation_service.bulk_set_class(
            session, actor=owner, project_id=project.id, selection=more, category_id=classes_of(project)[0]
        )
    dataset = dataset_service.load_items(freeze(project))
    splits = {item.image_id: item.split for item in dataset.items}
    assert sorted(splits[image_id] for image_id in abnormal) == ["dev", "dev", "test", "test"]
    assert sorted(splits[image_id] for image_id in normal + more).count(Split.TRAIN) == 14


def test_the_preview_of_auto_split_is_what_it_does(owner: Actor, browser: TestClient) -> None:
    project = factories.make_project(owner, "Plates", ("dent", "hole"), TaskType.DETECTION)
    dent, hole = classes_of(project)
    ids = unsplit_rows(owner, project, 40, seed=3)
    mark(owner, project, ids[:25], dent)
    mark(owner, project, ids[25:33], dent, hole)
    mark(owner, project, ids[33:])
    shares = {Split.TRAIN: 60, Split.DEV: 20, Split.TEST: 20}
    with transaction() as session:
        row = session.get(Project, project.id)
        planned = dataset_service.plan_split(session, project=row, percentages=shares, redraw=False)
        dataset_service.auto_split(session, actor=owner, project_id=project.id, percentages=shares)
    counts = freeze(project).counts
    assert planned == {one: {split: counts[split.value][str(one)] for split in Split} for one in (dent, hole)}
    assert planned[hole] == {Split.TRAIN: 5, Split.DEV: 2, Split.TEST: 1}
    assert browser.get(f"/projects/{project.id}/auto-split").status_code == 200
