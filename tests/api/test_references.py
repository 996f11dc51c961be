"""Reference images: marked, hidden from everything that counts or labels, and frozen with the images they belong to."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts.permissions import Actor, Role
from app.contracts.tasks import TaskType
from app.datasets import service as dataset_service
from app.datasets.readiness import DatasetNotReady
from app.db.session import new_session, transaction
from app.db.tables import Image, Project
from app.db.visibility import WITH_REFERENCES
from benchmarks.boards import draw_pair, layout
from tests import factories
from tests.boards import png

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
VOC = (
    "<annotation><size><width>64</width><height>64</height><depth>1</depth></size><object><name>extra</name><bndbox>"
    "<xmin>10</xmin><ymin>10</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def project(owner: Actor) -> Project:
    return factories.make_project(owner, "Boards", ("extra",), TaskType.DETECTION)


@pytest.fixture
def send(program: TestClient, project: Project) -> Any:
    """Return a function that uploads a drawn board, labelled where wanted, and returns its id."""

    def upload(name: str, *, is_labelled: bool = True, side_px: int = 64, **fields: str) -> int:
        generator = np.random.default_rng(sum(map(ord, name)))
        pair = draw_pair(generator, layout(generator, cells=5), n_defects=1, side_px=side_px)
        data = {**({"label": VOC, "split": "train"} if is_labelled else {}), **fields}
        answer = program.post(
            f"/v1/projects/{project.id}/images", files={"file": (name, png(pair.picture), "image/png")}, data=data
        )
        assert answer.status_code == 201, answer.text
        return int(answer.json()["data"]["id"])

    return upload


def rule(program: TestClient, project: Project, **body: Any) -> dict[str, Any]:
    answer = program.put(f"/v1/projects/{project.id}/references/rule", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def frozen(project: Project, **how: bool) -> dict[str, Any]:
    with transaction() as session:
        version = dataset_service.freeze(session, project=session.get_one(Project, project.id), **how)
        dataset = dataset_service.load_items(version)
    items = [*dataset.items, *dataset.unlabelled]
    with new_session() as session:
        rows = session.execute(select(Image.id, Image.blob_key, Image.name), execution_options=WITH_REFERENCES).all()
    names, keys = {row.id: row.name for row in rows}, {row.blob_key: row.name for row in rows}
    return {names[item.image_id]: item.reference and keys[item.reference.blob_key] for item in items}


def listed(program: TestClient, project: Project) -> set[str]:
    return {one["name"] for one in program.get(f"/v1/projects/{project.id}/images").json()["data"]}


def test_one_reference_for_all_leaves_the_images_and_comes_back(
    browser: TestClient, program: TestClient, project: Project, send: Any
) -> None:
    golden, *_ = [send(f"board-{n}.png") for n in range(4)]
    root = f"/projects/{project.id}"
    answer = browser.post(f"{root}/bulk/reference", data={"image_id": golden}, headers=PARTIAL)
    assert answer.status_code == 200
    assert "1 image is a reference image now" in answer.text
    assert listed(program, project) == {"board-1.png", "board-2.png", "board-3.png"}
    assert browser.get(f"{root}/images/{golden}/thumb").status_code == 200
    assert "3 labelled images" in (page := browser.get(f"{root}/train").text)
    assert "the reference image" in page
    assert frozen(project) == dict.fromkeys(("board-1.png", "board-2.png", "board-3.png"), "board-0.png")
    page = browser.get(f"{root}/references").text
    assert "Every image has its reference (3)" in page
    assert "board-0.png" in page
    assert browser.post(f"{root}/references/unmark", data={"image_id": golden}).status_code == 303
    assert "none is chosen yet" in browser.get(f"{root}/train").text
    assert browser.post(f"{root}/references", data={"kind": "none"}).status_code == 303
    assert frozen(project) == dict.fromkeys(f"board-{n}.png" for n in range(4))


def test_another_one_takes_its_place_and_several_are_refused(program: TestClient, project: Project, send: Any) -> None:
    first, second, _ = [send(f"board-{n}.png") for n in range(3)]
    url = f"/v1/projects/{project.id}/references"
    answer = program.post(url, json={"mediaIds": [first, second]})
    assert answer.status_code == 422
    assert "One reference stands for all" in answer.json()["message"]
    assert program.post(url, json={"mediaIds": [first]}).json()["data"]["rule"]["kind"] == "one"
    data = program.post(url, json={"mediaIds": [second]}).json()["data"]
    assert [one["name"] for one in data["references"]] == ["board-1.png"]
    assert (data["images"], data["paired"], data["problem"]) == (2, 2, None)
    assert program.delete(url, params={"id": first}).status_code == 404
    assert program.delete(url, params={"id": second}).json()["data"]["problem"].endswith("under References.")


def test_references_are_known_by_name_those_that_come_later_too(
    browser: TestClient, program: TestClient, project: Project, send: Any
) -> None:
    for name in ("a_test.png", "a_temp.png", "b_test.png"):
        send(name)
    data = rule(program, project, kind="name", imageEnding="_test", referenceEnding="_temp")
    assert data["references"] == [{"id": data["references"][0]["id"], "name": "a_temp.png", "key": "a"}]
    assert data["problem"].startswith("1 of 2 labelled images have no reference image: b_test.png")
    with pytest.raises(DatasetNotReady, match=r"b_test\.png"):
        frozen(project)
    assert frozen(project, with_references=False) == {"a_test.png": None, "b_test.png": None}
    assert "b_test.png" in browser.get(f"/projects/{project.id}/train").text
    send("b_TEMP.png", is_labelled=False)
    send("c_test.png", is_labelled=False)
    assert frozen(project) == {"a_test.png": "a_temp.png", "b_test.png": "b_TEMP.png", "c_test.png": None}
    page = browser.get(f"/projects/{project.id}/references").text
    assert "1 unlabelled image without one will not be predicted" in page
    reference = program.get(f"/v1/projects/{project.id}/references").json()["data"]["references"][0]["id"]
    assert program.delete(f"/v1/projects/{project.id}/references", params={"id": reference}).status_code == 422
    rule(program, project, kind="none")
    assert listed(program, project) == {f"{one}.png" for one in ("a_test", "a_temp", "b_test", "b_TEMP", "c_test")}


def test_references_are_found_by_a_metadata_value(program: TestClient, project: Project, send: Any) -> None:
    field = program.post(f"/v1/projects/{project.id}/metadata", json={"name": "board"}).json()["data"]["id"]
    ids = [send(f"{name}.png", metadata=f'{{"{field}": "{name[0]}"}}') for name in ("A-1", "B-1", "A-ref", "B-ref")]
    rule(program, project, kind="metadata", fieldId=field)
    program.post(f"/v1/projects/{project.id}/references", json={"mediaIds": ids[2:]})
    assert frozen(project) == {"A-1.png": "A-ref.png", "B-1.png": "B-ref.png"}
    send("A-ref2.png", metadata=f'{{"{field}": "a"}}')
    doubled = max(one for one in map(int, [*ids, *range(ids[-1], ids[-1] + 2)]))
    data = program.post(f"/v1/projects/{project.id}/references", json={"mediaIds": [doubled]}).json()["data"]
    assert data["problem"].startswith("Two reference images stand for the same images: A-ref.png, A-ref2.png")


def test_other_proportions_are_said_before_training(program: TestClient, project: Project, send: Any) -> None:
    ids = [send(f"board-{n}.png") for n in range(2)]
    wide = program.post(
        f"/v1/projects/{project.id}/images",
        files={"file": ("wide.png", factories.picture_bytes(size=(96, 64)), "image/png")},
    ).json()["data"]["id"]
    data = program.post(f"/v1/projects/{project.id}/references", json={"mediaIds": [wide]}).json()["data"]
    assert data["problem"].startswith("2 images have other proportions than their reference image: board-0.png")
    assert (data["images"], data["paired"]) == (len(ids), 0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "name", "referenceEnding": " "}, "Say how the names"),
        ({"kind": "name", "imageEnding": "_temp", "referenceEnding": "_temp"}, "another ending"),
        ({"kind": "metadata"}, "Choose the metadata field"),
    ],
)
def test_rules_that_tell_nothing_apart_are_refused(
    browser: TestClient, program: TestClient, project: Project, body: dict[str, str], said: str
) -> None:
    answer = program.put(f"/v1/projects/{project.id}/references/rule", json=body)
    assert (answer.status_code, said in answer.json()["message"]) == (422, True)
    form = {
        "kind": body["kind"],
        "image_ending": body.get("imageEnding", ""),
        "reference_ending": body.get("referenceEnding", ""),
    }
    answer = browser.post(f"/projects/{project.id}/references", data=form)
    assert (answer.status_code, said in answer.text) == (422, True)


def test_only_projects_with_shapes_compare(browser: TestClient, program: TestClient, owner: Actor) -> None:
    other = factories.make_project(owner)
    answer = program.put(f"/v1/projects/{other.id}/references/rule", json={"kind": "one"})
    assert answer.status_code == 422
    assert "Not for this type" in browser.get(f"/projects/{other.id}/references").text
    assert "Use as reference" not in browser.get(f"/projects/{other.id}/data").text


def test_who_may_only_look_changes_nothing(
    browser_as: Any, people: dict[Role, Actor], project: Project, send: Any
) -> None:
    image_id = send("board.png")
    labeler = browser_as(people[Role.LABELER])
    assert "Save" not in labeler.get(f"/projects/{project.id}/references").text
    for path, data in (("references", {"kind": "one"}), ("bulk/reference", {"image_id": image_id})):
        assert labeler.post(f"/projects/{project.id}/{path}", data=data).status_code == 403
