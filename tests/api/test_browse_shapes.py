"""The Data screen where images carry shapes: several classes on one image, and images where nothing is to be marked."""

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.accounts.permissions import Actor
from app.annotations import shapes as shape_service
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import Box
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.core.errors import Invalid
from app.db.session import new_session, transaction
from app.db.tables import Image, Project
from app.db.visibility import WITH_DELETED
from app.images import facets, queries, vocabulary
from app.images.filters import ImageFilter, parse_filter
from app.projects import service as project_service
from tests import browse_data, factories

BOX = Box(xmin=1, ymin=2, xmax=30, ymax=40)


@pytest.fixture
def plates(owner: Actor) -> Project:
    return factories.make_project(owner, "Plates", ("dent", "hole"), TaskType.DETECTION)


@pytest.fixture
def classes(plates: Project) -> list[int]:
    with new_session() as session:
        return [category.id for category in project_service.list_categories(session, plates.id)]


@pytest.fixture
def ids(owner: Actor, plates: Project, classes: list[int]) -> list[int]:
    """Six images: two with a dent (one of them with two), one with both classes, two with nothing, one unlabelled."""
    dent, hole = classes
    ids = browse_data.make_rows(owner, plates.id, 6)
    for image_id, held in zip(ids, ([dent], [dent, dent], [dent, hole], [], [], None), strict=True):
        if held is not None:
            save(owner, plates, image_id, *held)
    return ids


def save(owner: Actor, project: Project, image_id: int, *held: int) -> None:
    shapes = [AnnotationValue(category_id=one, box=BOX) for one in held]
    with transaction() as session:
        shape_service.set_shapes(
            session,
            actor=owner,
            project_id=project.id,
            image_id=image_id,
            annotations=shapes,
            nothing_to_label=not shapes,
        )


def shown(project: Project, wanted: ImageFilter) -> set[int]:
    with new_session() as session:
        return {row.id for row in queries.list_images(session, project.id, wanted, model=None).items}


def test_the_filter_for_a_class_finds_images_that_hold_it(plates: Project, classes: list[int], ids: list[int]) -> None:
    dent, hole = classes
    assert shown(plates, ImageFilter(classes=(dent,))) == set(ids[:3])
    assert shown(plates, ImageFilter(classes=(hole,))) == {ids[2]}
    assert shown(plates, ImageFilter(classes=(dent, hole))) == set(ids[:3])
    assert shown(plates, ImageFilter(has_no_class=True)) == set(ids[3:5])
    assert shown(plates, ImageFilter(classes=(hole,), has_no_class=True)) == set(ids[2:5])
    assert shown(plates, ImageFilter(is_labelled=False)) == {ids[5]}


@pytest.mark.parametrize(
    "address", ["", "class=dent", "class=hole", "class=none", "labelled=yes", "class=none&class=hole"]
)
def test_each_count_is_what_a_click_on_it_shows(
    plates: Project, classes: list[int], ids: list[int], address: str
) -> None:
    named = dict(zip(("dent", "hole"), map(str, classes), strict=True))
    pairs = [tuple(pair.split("=")) for pair in address.split("&") if pair]
    wanted = parse_filter([(name, named.get(value, value)) for name, value in pairs])
    with new_session() as session:
        words = vocabulary.load(session, plates.id, with_counts=True)
        found = facets.build(wanted, queries.count_images(session, plates.id, wanted, model=None), words)
    assert words.has_shapes
    assert [one.n_images for one in words.classes] == [3, 1]
    assert found.n_matching == len(shown(plates, wanted))
    (by_class,) = [facet for facet in found.facets if facet.key == "class"]
    assert [value.text for value in by_class.values] == ["dent", "hole", "Nothing to label"]
    pairs_of = {
        "nothing to label": ("class", "none"),
        "labelled": ("labelled", "yes"),
        "unlabelled": ("labelled", "no"),
    }
    pairs_of |= {name: ("class", value) for name, value in named.items()}
    pairs_of |= {
        name: ("split", name.removeprefix("no split") or "none") for name in ("train", "dev", "test", "no split")
    }
    for facet in found.facets:
        others = [pair for pair in wanted.pairs() if pair[0] != facet.key]
        for value in facet.values:
            alone = parse_filter([*others, pairs_of[value.text.lower()]])
            assert value.n == len(shown(plates, alone)), (facet.key, value.text)


def test_the_screens_show_what_an_image_holds(
    browser: TestClient, plates: Project, classes: list[int], ids: list[int], count_statements: Callable
) -> None:
    root = f"/projects/{plates.id}"
    with count_statements() as counted:
        page = browser.get(f"{root}/data?class={classes[0]}")
    assert page.status_code == 200
    assert counted.n <= 5, counted.statements  # who is signed in, the project, and three
    tiles = dict(re.findall(r'data-id="(\d+)".*?tile__word">([^<]*)<', page.text, re.S))
    assert tiles == {str(ids[0]): "dent", str(ids[1]): "dent", str(ids[2]): "dent, hole"}
    assert "Nothing to label" in page.text
    detail = browser.get(f"{root}/images/{ids[2]}", headers={"HX-Request": "true", "HX-Request-Type": "partial"}).text
    assert re.findall(r'chip__name">([^<]*)<', detail) == ["dent", "hole"]
    assert "No class" not in detail
    with count_statements() as counted:
        assert browser.get(f"{root}/data/more?cursor=WzldXQ").status_code in {200, 422}
    listed = browser.get(f"{root}/classes").text
    assert re.findall(r"(\d+) image", listed) == ["3", "1"]


def test_an_empty_project_says_what_comes_next_for_its_type(browser: TestClient, plates: Project, owner: Actor) -> None:
    page = browser.get(f"/projects/{plates.id}/data").text
    assert "mark under Label where the defects are" in page
    assert "Folder names become classes" not in page
    parts = factories.make_project(owner, "Parts")
    assert "Folder names become classes" in browser.get(f"/projects/{parts.id}/data").text


def test_nothing_to_label_is_said_of_many_at_once_and_taken_back(
    browser: TestClient, plates: Project, ids: list[int]
) -> None:
    root, headers = f"/projects/{plates.id}", {"HX-Request": "true", "HX-Request-Type": "partial"}
    page = browser.post(f"{root}/bulk/nothing", data={"everything": "true"}, headers=headers).text
    assert "Nothing to label on 1 image" in page
    assert shown(plates, ImageFilter(has_no_class=True)) == set(ids[3:])
    assert len(shown(plates, ImageFilter(is_labelled=True))) == 6
    (change,) = re.findall(r'name="change" value="(\d+)"', page)
    browser.post(f"{root}/bulk/undo/labels", data={"change": change}, headers=headers).raise_for_status()
    assert shown(plates, ImageFilter(is_labelled=False)) == {ids[5]}
    assert shown(plates, ImageFilter(has_no_class=True)) == set(ids[3:5])


def test_rest_filters_and_lists_the_classes_of_shapes(
    program: TestClient, plates: Project, classes: list[int], ids: list[int]
) -> None:
    url = f"/v1/projects/{plates.id}/images"
    found = program.get(url, params={"classId": classes[1]}).json()["data"]
    assert [(one["id"], one["classId"], one["classIds"]) for one in found] == [(ids[2], None, classes)]


def test_a_class_in_use_stays_and_one_that_deleted_images_hold_goes(
    owner: Actor, program: TestClient, plates: Project, classes: list[int], ids: list[int]
) -> None:
    dent, hole = classes
    save(owner, plates, ids[0], hole)
    url = f"/v1/projects/{plates.id}/classes/{hole}"
    assert program.delete(url).status_code == 409
    with transaction() as session:
        session.execute(update(Image).where(Image.id.in_([ids[0], ids[2]])).values(deleted_at=utc_now()))
    assert program.delete(url).status_code == 200
    with new_session() as session:
        alone, both = (session.get(Image, one, execution_options=WITH_DELETED) for one in (ids[0], ids[2]))
        assert (alone.shape_classes, alone.is_labelled) == (None, False)
        assert (both.shape_classes, both.is_labelled) == (f",{dent},", True)
        assert [one.category_id for one in shape_service.annotations_of(session, [ids[2]])[ids[2]]] == [dent]


def test_an_anomaly_project_has_its_two_classes_and_no_others(owner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_service, "SUPPORTED_TASKS", frozenset(TaskType))
    with transaction() as session:
        project = project_service.create_project(session, actor=owner, name="Caps", task=TaskType.ANOMALY)
        found = project_service.list_categories(session, project.id)
        assert [(one.name, one.index, one.is_good) for one in found] == [("Normal", 0, True), ("Abnormal", 1, False)]
        with pytest.raises(Invalid, match="no further classes"):
            project_service.create_category(session, actor=owner, project_id=project.id, name="scratch")
        with pytest.raises(Invalid, match="both of its classes"):
            project_service.delete_category(session, actor=owner, project_id=project.id, category_id=found[1].id)
