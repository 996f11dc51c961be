"""Uploads through the element of the Data screen: good files, bad files, zips, folders, duplicates."""

import io
import zipfile
from collections.abc import Sequence

from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.accounts.permissions import Actor, Role
from app.db.session import transaction
from app.db.tables import Annotation, Category, Image, Project
from app.images import thumbnails
from app.storage.current import blobs
from tests import factories
from tests.factories import picture_bytes

File = tuple[str, bytes]


def send(client: TestClient, project: Project, files: Sequence[File], **fields: str) -> list[dict]:
    """Upload as the element does; `files` are (path, content). Return the results."""
    answer = client.post(
        f"/projects/{project.id}/images",
        files=[("files", (path.rsplit("/", 1)[-1], content)) for path, content in files],
        data={"paths": [path for path, _ in files], **fields},
        headers={"X-Requested-With": "kizu"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def zip_bytes(*files: File) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in files:
            archive.writestr(path, content)
    return out.getvalue()


def stored(project: Project) -> list[Image]:
    with transaction(writes=False) as session:
        return list(session.scalars(select(Image).where(Image.project_id == project.id).order_by(Image.id)))


def test_pictures_are_kept_byte_for_byte(browser: TestClient, project: Project) -> None:
    content = picture_bytes(1, size=(40, 30))
    (result,) = send(browser, project, [("housing.png", content)])
    assert result == {"name": "housing.png", "status": "created", "image_id": result["image_id"], "detail": ""}
    (image,) = stored(project)
    assert blobs().read(image.blob_key) == content
    assert (image.width_px, image.height_px, image.format, image.n_bytes) == (40, 30, "png", len(content))
    assert not image.is_labelled


def test_folder_names_become_classes_on_request(browser: TestClient, project: Project) -> None:
    files = [
        ("parts/Good/1.png", picture_bytes(1)),
        ("parts/dent/2.png", picture_bytes(2)),
        ("3.png", picture_bytes(3)),
    ]
    send(browser, project, files, folders_as_classes="true")
    with transaction(writes=False) as session:
        classes = dict(
            session.execute(select(Category.name, Category.id).where(Category.project_id == project.id)).all()
        )
        assert session.scalar(select(func.count(Annotation.id))) == 2
    assert set(classes) == {"good", "scratch", "dent"}
    assert [image.category_id for image in stored(project)] == [classes["good"], classes["dent"], None]
    assert [image.is_labelled for image in stored(project)] == [True, True, False]
    assert [image.version for image in stored(project)] == [1, 1, 0]


def test_folders_are_only_folders_unless_asked(browser: TestClient, project: Project) -> None:
    send(browser, project, [("parts/dent/2.png", picture_bytes(2))])
    assert [image.category_id for image in stored(project)] == [None]


def test_a_labeler_uses_classes_but_makes_none(browser_as, people: dict[Role, Actor], project: Project) -> None:
    browser = browser_as(people[Role.LABELER])
    files = [("good/1.png", picture_bytes(1)), ("dent/2.png", picture_bytes(2))]
    first, second = send(browser, project, files, folders_as_classes="true")
    assert first["detail"] == ""
    assert "“dent”" in second["detail"]
    assert [image.is_labelled for image in stored(project)] == [True, False]


def test_a_duplicate_is_said_and_skipped(browser: TestClient, project: Project) -> None:
    content = picture_bytes(1)
    first, twin = send(browser, project, [("a.png", content), ("b.png", content)])
    (again,) = send(browser, project, [("c.png", content)])
    assert [one["status"] for one in (first, twin, again)] == ["created", "duplicate", "duplicate"]
    assert twin["image_id"] == again["image_id"] == first["image_id"]
    assert "“a.png”" in twin["detail"]
    assert "“a.png”" in again["detail"]
    assert len(stored(project)) == 1


def test_the_same_picture_may_be_in_two_projects(browser: TestClient, owner: Actor, project: Project) -> None:
    other = factories.make_project(owner, "Other")
    for one in (project, other):
        assert send(browser, one, [("a.png", picture_bytes(1))])[0]["status"] == "created"


def test_one_message_asks_for_the_thumbnails_of_an_upload(browser: TestClient, project: Project, queue) -> None:
    send(browser, project, [(f"{n}.png", picture_bytes(n)) for n in range(5)])
    send(browser, project, [(f"{n}.png", picture_bytes(n)) for n in range(5, 8)])
    thumbnails.send_requests()
    assert queue.sent == [("images.thumbnails", str(project.id), "cpu")]


def test_a_zip_is_the_files_in_it(browser: TestClient, project: Project) -> None:
    content = zip_bytes(
        ("good/1.png", picture_bytes(1)),
        ("dent/2.jpg", picture_bytes(2, file_format="JPEG")),
        ("readme.txt", b"hello"),
        ("__MACOSX/good/._1.png", b"x"),
        ("good/.DS_Store", b"x"),
        ("more.zip", b"PK"),
    )
    answer = browser.post(
        f"/projects/{project.id}/images",
        files={"files": ("all.zip", content)},
        data={"folders_as_classes": "true"},
        headers={"X-Requested-With": "kizu"},
    )
    body = answer.json()
    assert [(one["name"], one["status"]) for one in body["results"]] == [
        ("1.png", "created"),
        ("2.jpg", "created"),
        ("readme.txt", "refused"),
    ]
    assert body["counts"] == {"created": 2, "duplicate": 0, "refused": 1, "skipped": 3}
    assert all(image.is_labelled for image in stored(project))


def test_without_javascript_the_browser_returns_to_the_images(browser: TestClient, project: Project) -> None:
    answer = browser.post(f"/projects/{project.id}/images", files={"files": ("a.png", picture_bytes(1))})
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/projects/{project.id}/data"
