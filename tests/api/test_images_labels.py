"""REST: pictures that come with their label, of each type; and every label read, replaced and deleted."""

import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import func, select

from app.accounts.permissions import Actor, Role
from app.contracts.tasks import TaskType
from app.datasets import service as dataset_service
from app.db.session import new_session, transaction
from app.db.tables import Category, Image, Project
from tests import factories
from tests.unit.test_label_files import voc_object, voc_xml

WIDTH, HEIGHT = 48, 32


@pytest.fixture
def detection(owner: Actor) -> Project:
    return factories.make_project(owner, "Plates", ("dent", "hole"), TaskType.DETECTION)


@pytest.fixture
def segmentation(owner: Actor) -> Project:
    return factories.make_project(owner, "Tiles", ("crack", "stain"), TaskType.SEGMENTATION)


@pytest.fixture
def anomaly(owner: Actor) -> Project:
    return factories.make_project(owner, "Caps", ("Normal", "Abnormal"), TaskType.ANOMALY)


def upload(program: TestClient, project: Project, seed: int = 0, label: object = None, **fields: str):
    files: dict[str, object] = {"file": ("part.png", factories.picture_bytes(seed, size=(WIDTH, HEIGHT)), "image/png")}
    if isinstance(label, bytes):
        files["label"] = ("label.bin", label, "application/octet-stream")
    elif label is not None:
        fields["label"] = str(label)
    return program.post(f"/v1/projects/{project.id}/images", files=files, data=fields)


def labels_of(program: TestClient, project: Project, answer) -> dict:
    assert answer.status_code == 201, answer.text
    url = f"/v1/projects/{project.id}/images/{answer.json()['data']['id']}/labels"
    return program.get(url).json()["data"]


def voc(*objects: str) -> bytes:
    return voc_xml(*objects, size=(WIDTH, HEIGHT))


def mask_png(*marked: tuple[int, slice, slice], size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    values = np.zeros(size[::-1], np.uint8)
    for value, rows, columns in marked:
        values[rows, columns] = value
    out = io.BytesIO()
    Picture.fromarray(values).save(out, "PNG")
    return out.getvalue()


def n_images(project: Project) -> int:
    with new_session() as session:
        return session.scalar(select(func.count(Image.id)).where(Image.project_id == project.id))


# --- upload ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [False, True])
def test_a_picture_comes_with_its_boxes(program: TestClient, detection: Project, as_text: bool) -> None:
    label = voc(voc_object("dent", 1, 1, 48, 32), voc_object("hole", 5, 6, 7, 8))
    found = labels_of(program, detection, upload(program, detection, label=label.decode() if as_text else label))
    assert (found["version"], found["isLabelled"], found["nothingToLabel"]) == (1, True, False)
    assert [(one["className"], one["box"]) for one in found["labels"]] == [
        ("dent", {"xmin": 0, "ymin": 0, "xmax": 48, "ymax": 32}),
        ("hole", {"xmin": 4, "ymin": 5, "xmax": 7, "ymax": 8}),
    ]


def test_a_picture_comes_with_its_mask_and_class_map(program: TestClient, segmentation: Project) -> None:
    mask = mask_png((9, slice(2, 4), slice(5, 8)), (200, slice(10, 11), slice(0, 48)))
    answer = upload(program, segmentation, label=mask, label_map='{"0": "ok", "9": "stain", "200": "new one"}')
    found = labels_of(program, segmentation, answer)
    assert [(one["className"], one["mask"]) for one in found["labels"]] == [
        ("stain", {"xmin": 5, "ymin": 2, "width": 3, "height": 2, "counts": "6N"}),
        ("new one", {"xmin": 0, "ymin": 10, "width": 48, "height": 1, "counts": "48N"}),
    ]


def test_without_a_map_the_values_of_a_mask_are_indices(program: TestClient, segmentation: Project) -> None:
    found = labels_of(program, segmentation, upload(program, segmentation, label=mask_png((2, slice(3), slice(3)))))
    assert [one["className"] for one in found["labels"]] == ["stain"]
    refused = upload(program, segmentation, 1, label=mask_png((3, slice(3), slice(3))))
    assert refused.status_code == 422
    assert "value 3, and no class" in refused.json()["detail"]


def test_nothing_to_label_is_said_by_a_field_or_by_an_empty_file(
    program: TestClient, detection: Project, segmentation: Project
) -> None:
    answers = [
        (detection, upload(program, detection, 0, nothing_to_label="true")),
        (detection, upload(program, detection, 1, label=voc())),
        (segmentation, upload(program, segmentation, 2, label=mask_png())),
    ]
    for project, answer in answers:
        found = labels_of(program, project, answer)
        assert (found["nothingToLabel"], found["isLabelled"], found["labels"]) == (True, True, [])


def test_an_anomaly_picture_is_normal_or_abnormal(program: TestClient, anomaly: Project) -> None:
    found = labels_of(program, anomaly, upload(program, anomaly, 0, label="Abnormal"))
    assert [(one["className"], one["box"]) for one in found["labels"]] == [("Abnormal", None)]
    refused = upload(program, anomaly, 1, label="Nomral")
    assert refused.status_code == 422
    assert "Normal or Abnormal; “Nomral” is neither" in refused.json()["detail"]


def test_an_anomaly_picture_comes_with_the_place_of_its_anomaly(program: TestClient, anomaly: Project) -> None:
    marked = mask_png((255, np.s_[4:10], np.s_[6:20]), (7, np.s_[20:22], np.s_[30:40]))
    data = labels_of(program, anomaly, upload(program, anomaly, 1, marked))
    assert [(one["className"], one["mask"]["xmin"], one["mask"]["width"]) for one in data["labels"]] == [
        ("Abnormal", 6, 34)
    ]
    empty = labels_of(program, anomaly, upload(program, anomaly, 2, mask_png()))
    assert [(one["className"], one["mask"]) for one in empty["labels"]] == [("Normal", None)]
    for seed in range(3, 14):
        upload(program, anomaly, seed, "Normal")
    with transaction() as session:
        version = dataset_service.freeze(session, project=session.get(Project, anomaly.id))
    items = dataset_service.load_items(version).items
    assert [item.annotations[0].kind for item in items].count("mask") == 1
    assert upload(program, anomaly, 20, voc(voc_object("dent", 1, 1, 9, 9))).status_code == 422


def test_folders_of_an_anomaly_set_are_good_or_not(program: TestClient, anomaly: Project) -> None:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, folder in enumerate(("good", "scratch", "Normal")):
            archive.writestr(f"set/{folder}/{number}.png", factories.picture_bytes(number))
    program.post(
        f"/v1/projects/{anomaly.id}/images",
        files={"file": ("set.zip", out.getvalue(), "application/zip")},
        data={"folders_as_classes": "true"},
    ).raise_for_status()
    listed = program.get(f"/v1/projects/{anomaly.id}/images").json()["data"]
    assert sorted(one["className"] for one in listed) == ["Abnormal", "Normal", "Normal"]
    with new_session() as session:
        assert session.scalar(select(func.count(Category.id)).where(Category.project_id == anomaly.id)) == 2


def test_a_labeler_brings_no_new_class(
    people: dict[Role, Actor], program_as: Callable[[Actor], TestClient], detection: Project
) -> None:
    labeler, member = program_as(people[Role.LABELER]), program_as(people[Role.MEMBER])
    known, new = (voc(voc_object(name, 1, 1, 9, 9)) for name in ("dent", "new one"))
    assert upload(labeler, detection, 0, label=known).status_code == 201
    assert upload(labeler, detection, 1, label=new).status_code == 403
    assert n_images(detection) == 1
    assert labels_of(member, detection, upload(member, detection, 1, label=new))["labels"][0]["className"] == "new one"


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("dent", "labelled with shapes"),
        (voc_xml(voc_object("dent", 1, 1, 9, 9), size=(640, 480)), "640 x 480 pixels; this one has 48 x 32"),
        (voc_xml(voc_object("dent", 1, 1, 49, 9), size=None), "outside of the image"),
        (voc(voc_object("dent", "nan", 1, 9, 9)), "is no box"),
        (voc(voc_object("dent", 9, 1, 9 - 1, 9)), "is no box"),
        (voc(voc_object(" ", 1, 1, 9, 9)), "lacks its <name>"),
        (voc(*[voc_object("dent", 1, 1, 9, 9)] * 10_000), "at most 2,000 boxes; the file has 10,000"),
        (b"<!DOCTYPE a [<!ENTITY x 'y'>]><annotation/>", "declares entities"),
        (mask_png((1, slice(3), slice(3))), "labelled with boxes"),
        (b"nonsense", "not a readable"),
    ],
)
def test_bad_labels_of_boxes_are_refused_and_the_picture_with_them(
    program: TestClient, detection: Project, label: object, words: str
) -> None:
    answer = upload(program, detection, label=label)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]
    assert n_images(detection) == 0


def test_bad_masks_are_refused_and_the_picture_with_them(program: TestClient, segmentation: Project) -> None:
    mask = mask_png((1, slice(3), slice(3)))
    for label, fields, words in (
        (mask_png(size=(32, 48)), {}, "The mask has 32 x 48 pixels, the picture 48 x 32"),
        (mask, {"label_map": '{"2": "crack"}'}, "does not name: 1"),
        (mask, {"label_map": "crack"}, "class map as a JSON object"),
        (mask, {"nothing_to_label": "true"}, "Either there is a label"),
        (voc(voc_object("crack", 1, 1, 9, 9)), {}, "labelled with masks"),
    ):
        answer = upload(program, segmentation, label=label, **fields)
        assert answer.status_code == 422, answer.text
        assert words in answer.json()["detail"]
    assert n_images(segmentation) == 0


def test_a_class_project_takes_no_label_file(program: TestClient, project: Project) -> None:
    assert "one class each" in upload(program, project, label=voc()).json()["detail"]
    assert "has a class" in upload(program, project, nothing_to_label="true").json()["detail"]


def test_a_zip_takes_no_label_file(program: TestClient, detection: Project) -> None:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.png", factories.picture_bytes())
    files = {"file": ("a.zip", out.getvalue()), "label": ("a.xml", voc())}
    answer = program.post(f"/v1/projects/{detection.id}/images", files=files)
    assert answer.status_code == 422
    assert "belongs to one picture" in answer.json()["detail"]


def test_the_size_is_that_of_the_turned_picture(program: TestClient, detection: Project) -> None:
    exif = Picture.Exif()
    exif[0x0112] = 6  # to be turned by a quarter: stored 48 x 32, seen 32 x 48
    picture = factories.picture_bytes(3, size=(WIDTH, HEIGHT), file_format="JPEG", exif=exif)
    url = f"/v1/projects/{detection.id}/images"
    label = voc_xml(voc_object("dent", 1, 1, 32, 48), size=(32, 48))
    answer = program.post(url, files={"file": ("a.jpg", picture), "label": ("a.xml", label)})
    assert labels_of(program, detection, answer)["labels"][0]["box"]["ymax"] == 48


# --- read, replace, delete -------------------------------------------------------------------------------------------


def test_labels_are_read_replaced_and_deleted(program: TestClient, detection: Project) -> None:
    answer = upload(program, detection, label=voc(voc_object("dent", 1, 1, 9, 9)))
    url = f"/v1/projects/{detection.id}/images/{answer.json()['data']['id']}/labels"
    box = {"xmin": 0.5, "ymin": 1, "xmax": 9, "ymax": 9.25}
    replaced = program.put(url, json={"labels": [{"className": "hole", "box": box}], "version": 1})
    assert replaced.status_code == 200, replaced.text
    assert replaced.json() == program.get(url).json()
    data = replaced.json()["data"]
    assert (data["version"], data["labels"][0]["className"], data["labels"][0]["box"]) == (2, "hole", box)
    late = program.put(url, json={"labels": [], "version": 1})
    assert late.status_code == 409
    assert late.json()["current"]["version"] == 2
    assert program.put(url, json={"labels": [], "nothingToLabel": True}).json()["data"]["nothingToLabel"] is True
    assert program.delete(url, params={"version": 1}).status_code == 409
    gone = program.delete(url).json()["data"]
    assert (gone["isLabelled"], gone["labels"], gone["version"]) == (False, [], 4)
    assert program.delete(url).json()["data"]["version"] == 4


def test_what_was_read_can_be_sent_back(program: TestClient, segmentation: Project) -> None:
    answer = upload(program, segmentation, label=mask_png((1, slice(3), slice(3)), (2, slice(9, 12), slice(9))))
    url = f"/v1/projects/{segmentation.id}/images/{answer.json()['data']['id']}/labels"
    read = program.get(url).json()["data"]
    sent = [{"classId": one["classId"], "mask": one["mask"]} for one in read["labels"]]
    assert program.put(url, json={"labels": sent, "version": 1}).json()["data"] == read


def test_a_class_is_a_label_too(program: TestClient, project: Project) -> None:
    answer = upload(program, project, label="good")
    url = f"/v1/projects/{project.id}/images/{answer.json()['data']['id']}/labels"
    assert [one["className"] for one in program.get(url).json()["data"]["labels"]] == ["good"]
    changed = program.put(url, json={"labels": [{"className": "scratch"}]})
    assert [one["className"] for one in changed.json()["data"]["labels"]] == ["scratch"]
    for body in (
        {"labels": [{"className": "scratch"}, {"className": "good"}]},
        {"labels": [{"className": "good", "box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}]},
        {"labels": [], "nothingToLabel": True},
    ):
        assert program.put(url, json=body).status_code == 422
    assert program.delete(url).json()["data"]["isLabelled"] is False


@pytest.mark.parametrize(
    ("label", "pointer"),
    [
        ({"box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}, "/labels/0"),
        ({"className": "nothing", "box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}, "/labels/0"),
        ({"className": "", "box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}, "/labels/0"),
        ({"className": "dent", "box": {"xmin": 0, "ymin": 0, "xmax": 49, "ymax": 1}}, "/labels/0/box"),
        ({"className": "dent", "box": {"xmin": 0, "ymin": 0, "xmax": float("nan"), "ymax": 1}}, "/labels/0/box/xmax"),
        ({"className": "dent", "box": {"xmin": 0, "ymin": 0, "xmax": 0, "ymax": 1}}, "/labels/0/box"),
        ({"className": "dent"}, "/labels/0/class"),
        (
            {"className": "dent", "mask": {"xmin": 0, "ymin": 0, "width": 2, "height": 2, "counts": "3N"}},
            "/labels/0/mask",
        ),
    ],
)
def test_bad_labels_are_refused_where_they_are_wrong(
    program: TestClient, detection: Project, label: dict, pointer: str
) -> None:
    image_id = upload(program, detection).json()["data"]["id"]
    url = f"/v1/projects/{detection.id}/images/{image_id}/labels"
    answer = program.put(url, content=json.dumps({"labels": [label]}), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_ten_thousand_labels_are_refused_with_the_limit(program: TestClient, detection: Project) -> None:
    image_id = upload(program, detection).json()["data"]["id"]
    label = {"className": "dent", "box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}
    url = f"/v1/projects/{detection.id}/images/{image_id}/labels"
    answer = program.put(url, json={"labels": [label] * 10_000})
    assert answer.status_code == 422
    assert "at most 2,000 shapes; these are 10,000" in answer.text
