"""Boxes, polygons and masks of an image: saved as a whole, refused with words, never overwritten unseen."""

import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts.permissions import Actor, Role
from app.annotations import shapes as shape_service
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import MAX_SHAPES, Box
from app.contracts.tasks import TaskType
from app.core.errors import Invalid, NotFound, PermissionDenied, StaleVersion
from app.db.session import new_session, transaction
from app.db.tables import Annotation, AuditEvent, Image, Project
from app.projects import service as project_service
from tests import browse_data, factories

AS_KIZU = {"X-Requested-With": "kizu"}


@pytest.fixture
def detection(owner: Actor) -> Project:
    return factories.make_project(owner, "Plates", ("dent", "hole"), TaskType.DETECTION)


@pytest.fixture
def dent(detection: Project) -> int:
    return class_ids(detection)[0]


@pytest.fixture
def image_id(owner: Actor, detection: Project) -> int:
    (image_id,) = browse_data.make_rows(owner, detection.id, 1)  # 300 px high, 300, 400 or 640 wide
    return image_id


def class_ids(project: Project) -> list[int]:
    with new_session() as session:
        return [category.id for category in project_service.list_categories(session, project.id)]


def box(category_id: int, xmin: float = 1, ymin: float = 2, xmax: float = 30.5, ymax: float = 40) -> AnnotationValue:
    return AnnotationValue(category_id=category_id, box=Box(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax))


def save(actor: Actor, project: Project, image_id: int, *shapes: AnnotationValue, version: int | None = None, **more):
    with transaction() as session:
        return shape_service.set_shapes(
            session,
            actor=actor,
            project_id=project.id,
            image_id=image_id,
            annotations=shapes,
            expected_version=version,
            **more,
        )


def stored(image_id: int) -> tuple[str | None, bool, int, int]:
    with new_session() as session:
        image = session.get(Image, image_id)
        n = len(list(session.scalars(select(Annotation).where(Annotation.image_id == image_id))))
        assert image.category_id is None
        return image.shape_classes, image.is_labelled, image.version, n


def test_shapes_are_saved_replaced_and_cleared(owner: Actor, detection: Project, image_id: int) -> None:
    dent, hole = class_ids(detection)
    saved = save(owner, detection, image_id, box(dent), box(hole, xmin=5), box(dent, ymax=299.25), version=0)
    assert (saved.version, len(saved.annotations), saved.changed_by) == (1, 3, owner.name)
    assert stored(image_id) == (f",{dent},{hole},", True, 1, 3)
    save(owner, detection, image_id, box(hole), version=1)
    assert stored(image_id) == (f",{hole},", True, 2, 1)
    save(owner, detection, image_id, version=2)
    assert stored(image_id) == (None, False, 3, 0)


def test_nothing_to_label_is_a_label(owner: Actor, detection: Project, image_id: int, dent: int) -> None:
    saved = save(owner, detection, image_id, version=0, nothing_to_label=True)
    assert saved.nothing_to_label
    assert stored(image_id) == (",", True, 1, 0)
    with pytest.raises(Invalid, match="nothing to label"):
        save(owner, detection, image_id, box(dent), nothing_to_label=True)


def test_who_was_slower_is_told_what_is_there(
    people: dict[Role, Actor], detection: Project, image_id: int, dent: int
) -> None:
    owner, other = people[Role.OWNER], people[Role.LABELER]
    save(other, detection, image_id, box(dent), version=0)
    with pytest.raises(StaleVersion) as caught:
        save(owner, detection, image_id, box(dent, xmin=9), version=0)
    current = caught.value.extra["current"]
    assert (current["version"], current["changed_by"], len(current["shapes"])) == (1, other.name, 1)
    assert stored(image_id)[2:] == (1, 1)
    save(owner, detection, image_id, box(dent, xmin=9), version=1)


def test_the_same_shapes_twice_are_one_change(owner: Actor, detection: Project, image_id: int, dent: int) -> None:
    first = save(owner, detection, image_id, box(dent), version=0)
    assert save(owner, detection, image_id, box(dent), version=0) == first
    with new_session() as session:
        events = list(session.scalars(select(AuditEvent).where(AuditEvent.action == "image.label")))
    assert [event.data["n_shapes"] for event in events] == [1]


def test_only_who_may_label_does(people: dict[Role, Actor], detection: Project, image_id: int, dent: int) -> None:
    with pytest.raises(PermissionDenied):
        save(people[Role.VIEWER], detection, image_id, box(dent))
    save(people[Role.LABELER], detection, image_id, box(dent))
    with pytest.raises(NotFound):
        save(people[Role.LABELER], detection, image_id + 1, box(dent))


def test_classes_of_another_project_are_unknown(owner: Actor, detection: Project, image_id: int) -> None:
    (foreign,) = class_ids(factories.make_project(owner, "Other", ("dent",), TaskType.DETECTION))
    with pytest.raises(Invalid) as caught:
        save(owner, detection, image_id, box(class_ids(detection)[0]), box(foreign))
    assert caught.value.errors[0]["pointer"] == "/shapes/1/category_id"


def test_a_class_project_takes_no_shapes_and_a_shape_project_no_class(
    owner: Actor, project: Project, classes: tuple[int, ...], detection: Project, image_id: int, dent: int
) -> None:
    from app.annotations import service as annotation_service

    (classified,) = browse_data.make_rows(owner, project.id, 1, seed=5)
    with pytest.raises(Invalid, match="one class each"):
        save(owner, project, classified, box(classes[0]))
    with transaction() as session, pytest.raises(Invalid, match="with shapes"):
        annotation_service.set_class(session, actor=owner, project_id=detection.id, image_id=image_id, category_id=dent)


def test_detection_takes_boxes_and_segmentation_outlines(owner: Actor, detection: Project, image_id: int) -> None:
    segmentation = factories.make_project(owner, "Tiles", ("crack",), TaskType.SEGMENTATION)
    (crack,) = class_ids(segmentation)
    (other_id,) = browse_data.make_rows(owner, segmentation.id, 1, seed=6)
    polygon = {"rings": [[0, 0, 9, 0, 9, 9]]}
    mask = {"xmin": 2, "ymin": 3, "width": 3, "height": 2, "counts": "1Z4N1Z"}
    outlines = [
        AnnotationValue.model_validate({"category_id": crack, **s}) for s in ({"polygon": polygon}, {"mask": mask})
    ]
    assert save(owner, segmentation, other_id, *outlines).annotations == tuple(outlines)
    with pytest.raises(Invalid, match="polygons and masks"):
        save(owner, segmentation, other_id, box(crack))
    with pytest.raises(Invalid, match="boxes"):
        save(owner, detection, image_id, outlines[0].model_copy(update={"category_id": class_ids(detection)[0]}))


# --- the route of the editor -----------------------------------------------------------------------------------------


@pytest.fixture
def url(detection: Project, image_id: int) -> str:
    return f"/projects/{detection.id}/label/{image_id}/shapes"


def test_the_editor_saves_reads_and_meets_a_conflict(browser: TestClient, url: str, dent: int) -> None:
    shapes = [{"category_id": dent, "box": {"xmin": 1.5, "ymin": 2, "xmax": 30, "ymax": 40}}]
    assert browser.get(url).json()["version"] == 0
    answer = browser.put(url, json={"version": 0, "shapes": shapes, "nothing_to_label": False}, headers=AS_KIZU)
    assert (answer.status_code, answer.json()) == (200, {"version": 1})
    found = browser.get(url).json()
    assert (found["version"], found["shapes"], found["nothing_to_label"]) == (1, shapes, False)
    late = browser.put(url, json={"version": 0, "shapes": []}, headers=AS_KIZU)
    assert late.status_code == 409
    assert late.json()["current"]["shapes"] == shapes
    empty = browser.put(url, json={"version": 1, "shapes": [], "nothing_to_label": True}, headers=AS_KIZU)
    assert empty.json() == {"version": 2}
    assert browser.get(url).json()["nothing_to_label"] is True


def test_another_site_cannot_save_shapes(browser: TestClient, url: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", **AS_KIZU}
    assert browser.put(url, json={"version": 0, "shapes": []}, headers=headers).status_code == 403


BOX = {"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40}


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"box": {**BOX, "xmax": 641}}, "outside of the image"),
        ({"box": {**BOX, "xmin": -1}}, "greater than or equal to 0"),
        ({"box": {**BOX, "xmin": float("nan")}}, "finite"),
        ({"box": {**BOX, "xmax": float("inf")}}, ""),
        ({"box": {**BOX, "xmax": 1}}, "A box needs xmin below xmax"),
        ({"box": {**BOX, "ymax": "forty"}}, "number"),
        ({"box": BOX, "mask": {"xmin": 0, "ymin": 0, "width": 1, "height": 1, "counts": "1N"}}, "one shape"),
        ({"mask": {"xmin": 0, "ymin": 0, "width": 3, "height": 3, "counts": "8N"}}, "count 8 pixels"),
        ({"polygon": {"rings": [[0, 0, 5, 5]]}}, "three points"),
        ({"circle": {}}, ""),
        ({}, "boxes"),
    ],
)
def test_bad_shapes_are_refused_with_words_and_nothing_is_saved(
    browser: TestClient, url: str, image_id: int, dent: int, shape: dict, words: str
) -> None:
    content = json.dumps({"version": 0, "shapes": [{"category_id": dent, **shape}]})
    answer = browser.put(url, content=content, headers={"Content-Type": "application/json", **AS_KIZU})
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["errors"][0]["pointer"].startswith("/shapes/0"), problem
    assert words in problem["errors"][0]["detail"], problem
    assert "Value error" not in answer.text
    assert stored(image_id) == (None, False, 0, 0)


def test_a_shape_needs_a_class(browser: TestClient, url: str, dent: int) -> None:
    for category in (
        {},
        {"category_id": None},
        {"category_id": ""},
        {"category_id": 2**40},
        {"category_id": dent + 9999},
    ):
        answer = browser.put(url, json={"version": 0, "shapes": [{"box": BOX, **category}]}, headers=AS_KIZU)
        assert answer.status_code == 422, (category, answer.text)
        assert answer.json()["errors"][0]["pointer"] == "/shapes/0/category_id"


def test_ten_thousand_boxes_are_refused_with_the_limit(browser: TestClient, url: str, dent: int) -> None:
    shapes = [{"category_id": dent, "box": BOX}] * 10_000
    answer = browser.put(url, json={"version": 0, "shapes": shapes}, headers=AS_KIZU)
    assert answer.status_code == 422
    assert "at most 2,000 shapes; these are 10,000" in answer.json()["detail"]
    most = browser.put(url, json={"version": 0, "shapes": shapes[:MAX_SHAPES]}, headers=AS_KIZU)
    assert most.json() == {"version": 1}


def test_two_people_at_once_on_one_image(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient], url: str, image_id: int, dent: int
) -> None:
    """Of two that save at the same moment exactly one wins, and the shapes are one person's."""
    from concurrent.futures import ThreadPoolExecutor

    clients = [browser_as(people[role]) for role in (Role.OWNER, Role.LABELER)]

    def send(number: int) -> int:
        shapes = [{"category_id": dent, "box": {**BOX, "xmin": number}}] * (number + 2)
        return clients[number].put(url, json={"version": 0, "shapes": shapes}, headers=AS_KIZU).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(send, range(2))) == [200, 409]
    shape_classes, is_labelled, version, n = stored(image_id)
    assert (shape_classes, is_labelled, version) == (f",{dent},", True, 1)
    assert n in {2, 3}
