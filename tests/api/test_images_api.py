"""REST routes of images: what a program may upload, ask and change, and what stays closed to it."""

import io
import zipfile

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts.permissions import Actor, Role
from app.db.session import transaction
from app.db.tables import AuditEvent, Image, Project
from app.projects import service as project_service
from tests import factories
from tests.factories import picture_bytes


@pytest.fixture
def url(project: Project) -> str:
    return f"/v1/projects/{project.id}/images"


def upload(client: TestClient, url: str, seed: int = 1, **fields: object) -> dict:
    answer = client.post(url, files={"file": (f"{seed}.png", picture_bytes(seed))}, data=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


def test_an_upload_answers_with_the_record(program: TestClient, url: str) -> None:
    data = upload(program, url)
    assert set(data) == {"id", "name", "uploadTime"}
    assert data["name"] == "1.png"
    details = program.get(f"{url}/{data['id']}").json()["data"]
    assert details["uploadTime"] == data["uploadTime"]
    assert (details["metadata"], details["tagIds"], details["classId"]) == ({}, [], None)
    assert (details["width"], details["height"], details["format"]) == (48, 32, "png")


def test_an_upload_may_say_all_at_once(program: TestClient, url: str, owner: Actor, project: Project) -> None:
    with transaction() as session:
        field = project_service.create_metadata_field(
            session, actor=owner, project_id=project.id, name="lot", type="number"
        )
    data = upload(
        program, url, name="../over/there.png", label="scratch", split="dev", tags=["a", "b"], metadata='{"lot": 7}'
    )
    details = program.get(f"{url}/{data['id']}").json()["data"]
    assert details["name"] == "there.png"
    assert details["className"] == "scratch"
    assert details["split"] == "dev"
    assert len(details["tagIds"]) == 2
    assert details["metadata"] == {str(field.id): 7}
    with transaction(writes=False) as session:
        assert session.scalar(select(AuditEvent.action).order_by(AuditEvent.id.desc())) == "image.upload_labelled"


def test_a_new_class_is_made_by_its_first_label(program: TestClient, url: str) -> None:
    data = upload(program, url, label="dent")
    assert program.get(f"{url}/{data['id']}").json()["data"]["className"] == "dent"


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({"split": "validation"}, 422, "train, dev or test"),
        ({"metadata": "[1]"}, 422, "JSON object"),
        ({"metadata": "{"}, 422, "JSON object"),
        ({"metadata": '{"lot": 1}'}, 404, "“lot”"),
        ({"label": "a\x00b"}, 422, "control characters"),
        ({"folders_as_classes": "perhaps"}, 422, "true or false"),
        ({"nothing_to_label": "true"}, 422, "label"),
    ],
)
def test_what_is_said_wrongly_is_refused(
    program: TestClient, url: str, fields: dict[str, str], status: int, word: str
) -> None:
    answer = program.post(url, files={"file": ("1.png", picture_bytes(1))}, data=fields)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["message"]
    assert program.get(url).json()["data"] == []


def test_the_body_of_a_stranger_is_not_read(program: TestClient, url: str) -> None:
    """Else anybody could fill the disk; only what names its sender first may be large."""
    for headers, status in (({"apikey": "land_sk_wrong"}, 401), ({"apikey": ""}, 401)):
        answer = program.post(url, content=iter([b"x"]), headers=headers | {"content-type": "multipart/form-data"})
        assert answer.status_code == status  # not the 400 that this body would get


@pytest.mark.parametrize(
    "files", [{}, {"other": ("a.png", b"x")}, [("file", ("a.png", b"x")), ("file", ("b.png", b"y"))]]
)
def test_one_file_is_asked_for(program: TestClient, url: str, files: object) -> None:
    answer = program.post(url, files=files, data={"name": "x"})
    assert answer.status_code == 422
    assert "one file" in answer.json()["message"]
    answer = program.post(url, files={"file": ("a.png", picture_bytes(1)), "split": ("a.txt", b"x")})
    assert "not a file" in answer.json()["message"]


def test_a_duplicate_is_a_conflict_that_names_the_image(program: TestClient, url: str) -> None:
    first = upload(program, url)
    answer = program.post(url, files={"file": ("other.png", picture_bytes(1))})
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/duplicate_image"
    assert answer.json()["image_id"] == first["id"]


def test_a_zip_answers_with_each_file(program: TestClient, url: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("good/1.png", picture_bytes(1))
        archive.writestr("good/2.png", b"not a picture")
    answer = program.post(url, files={"file": ("all.zip", out.getvalue())}, data={"folders_as_classes": "true"})
    assert answer.status_code == 201
    results = answer.json()["data"]["results"]
    assert [one["status"] for one in results] == ["created", "refused"]
    assert program.get(f"{url}/{results[0]['image_id']}").json()["data"]["className"] == "good"


def test_lists_go_page_by_page_and_filter(program: TestClient, url: str) -> None:
    ids = [upload(program, url, seed, label=label)["id"] for seed, label in enumerate(["good", "scratch", "", "good"])]
    program.put(f"{url}/{ids[0]}/split", json={"split": "test"})
    program.post(f"{url}/tags", json={"tagNames": ["night"], "mediaIds": [ids[2]]})
    first = program.get(url, params={"limit": 3}).json()
    second = program.get(url, params={"limit": 3, "cursor": first["nextCursor"]}).json()
    assert [one["id"] for one in first["data"] + second["data"]] == ids[::-1]
    assert second["nextCursor"] is None
    good = first["data"][0]["classId"]

    def found(**params: object) -> list[int]:
        return [one["id"] for one in program.get(url, params=params).json()["data"]]

    assert found(classId=good) == [ids[3], ids[0]]
    assert found(split="test") == [ids[0]]
    assert found(split="none") == [ids[3], ids[2], ids[1]]
    assert found(labelled="false") == [ids[2]]
    assert found(tag="night") == [ids[2]]
    assert program.get(url, params={"tag": "day"}).status_code == 422
    assert program.get(url, params={"cursor": "nonsense"}).status_code == 422


def test_a_label_is_changed_only_where_nobody_was_faster(program: TestClient, url: str) -> None:
    image_id = upload(program, url)["id"]
    answer = program.put(f"{url}/{image_id}/label", json={"className": "good", "version": 0})
    assert answer.json()["data"]["className"] == "good"
    assert program.put(f"{url}/{image_id}/label", json={"className": "scratch", "version": 0}).status_code == 409
    assert program.put(f"{url}/{image_id}/label", json={"className": "nope"}).status_code == 422
    assert program.put(f"{url}/{image_id}/label", json={"classId": None}).json()["data"]["isLabelled"] is False


def test_splits_and_tags_of_many(program: TestClient, url: str) -> None:
    ids = [upload(program, url, seed)["id"] for seed in range(3)]
    assert program.post(f"{url}/split", json={"split": "dev", "mediaIds": ids[:2]}).json()["data"]["count"] == 2
    assert program.post(f"{url}/split", json={"split": "dev", "allMedia": True}).json()["data"]["count"] == 1
    assert program.post(f"{url}/split", json={"split": None, "mediaIds": ids[:1]}).json()["data"]["count"] == 1
    tags = program.post(f"{url}/tags", json={"tagNames": ["x", "y"], "allMedia": True}).json()["data"]["tagIds"]
    program.post(f"{url}/tags", json={"tagNames": ["x"], "mediaIds": ids})
    assert program.get(f"{url}/{ids[0]}").json()["data"]["tagIds"] == tags
    removed = program.post(f"{url}/tags/remove", json={"tagNames": ["x"], "mediaIds": ids[:2]})
    assert removed.json()["data"]["count"] == 2
    assert program.get(f"{url}/{ids[0]}").json()["data"]["tagIds"] == tags[1:]
    assert program.post(f"{url}/tags", json={"tagNames": ["x"]}).status_code == 422


def test_metadata_fits_its_field(program: TestClient, url: str, owner: Actor, project: Project) -> None:
    with transaction() as session:
        fields = {
            name: project_service.create_metadata_field(
                session, actor=owner, project_id=project.id, name=name, type=kind, allow_multiple=many
            ).id
            for name, kind, many in [("lot", "number", False), ("line", "text", True), ("wet", "boolean", False)]
        }
    ids = [upload(program, url, seed)["id"] for seed in range(2)]
    answer = program.post(f"{url}/{ids[0]}/metadata", json={"metadata": {"lot": 3.5, "line": "A", "wet": True}})
    expected = {str(fields["lot"]): 3.5, str(fields["line"]): ["A"], str(fields["wet"]): True}
    assert answer.json()["data"] == [{"mediaId": ids[0], "metadata": expected}]
    answer = program.post(
        f"{url}/metadata", json={"metadataAppend": {str(fields["line"]): ["B", "A"], "lot": 4}, "allMedia": True}
    )
    line, lot = str(fields["line"]), str(fields["lot"])
    assert [(one["metadata"][line], one["metadata"][lot]) for one in answer.json()["data"]] == [
        (["A", "B"], 4),
        (["B", "A"], 4),
    ]
    program.post(f"{url}/{ids[0]}/metadata", json={"metadata": {"wet": None}})
    assert str(fields["wet"]) not in program.get(f"{url}/{ids[0]}").json()["data"]["metadata"]
    for wrong in ({"lot": "3"}, {"lot": True}, {"wet": 1}, {"line": 3}, {"lot": [1]}, {"line": "x" * 2000}):
        assert program.post(f"{url}/{ids[0]}/metadata", json={"metadata": wrong}).status_code == 422, wrong
    assert program.post(f"{url}/{ids[0]}/metadata", json={"metadata": {"none": 1}}).status_code == 404


def test_deleted_images_are_gone_until_restored(program: TestClient, url: str) -> None:
    ids = [upload(program, url, seed, label="good")["id"] for seed in range(3)]
    assert program.delete(url, params={"id": ids[:2]}).json()["data"]["count"] == 2
    assert program.get(f"{url}/{ids[0]}").status_code == 404
    assert [one["id"] for one in program.get(url).json()["data"]] == [ids[2]]
    anew = upload(program, url, 0)["id"]  # the same bytes may come again, and then the deleted one stays away
    assert program.post(f"{url}/restore", json={"mediaIds": ids}).json()["data"]["count"] == 1
    assert [one["id"] for one in program.get(url).json()["data"]] == [anew, ids[2], ids[1]]
    assert program.get(f"{url}/{ids[1]}").json()["data"]["className"] == "good"
    assert program.delete(f"{url}/{ids[0]}").status_code == 404


def test_files_come_back_as_they_were_under_a_harmless_policy(program: TestClient, url: str) -> None:
    content = picture_bytes(1, size=(500, 400), mode="RGB", file_format="TIFF")
    image_id = program.post(url, files={"file": ("a\u202e<b>;x.tif", content)}).json()["data"]["id"]
    answer = program.get(f"{url}/{image_id}/file")
    assert answer.content == content
    assert answer.headers["content-type"] == "image/tiff"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"].startswith('attachment; filename="a_b__x.tif"')
    thumb = program.get(f"{url}/{image_id}/thumbnail")
    assert thumb.headers["content-type"] == "image/webp"
    assert thumb.content[8:12] == b"WEBP"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/{id}", None),
        ("GET", "/{id}/file", None),
        ("GET", "/{id}/thumbnail", None),
        ("DELETE", "/{id}", None),
        ("DELETE", "?id={id}", None),
        ("PUT", "/{id}/label", {"className": "good"}),
        ("PUT", "/{id}/split", {"split": "dev"}),
        ("POST", "/split", {"split": "dev", "mediaIds": ["{id}"]}),
        ("POST", "/tags", {"tagNames": ["x"], "mediaIds": ["{id}"]}),
        ("POST", "/metadata", {"metadataAppend": {}, "mediaIds": ["{id}"]}),
        ("POST", "/{id}/metadata", {"metadata": {}}),
    ],
)
def test_an_image_of_another_project_does_not_exist(
    program: TestClient, url: str, owner: Actor, method: str, path: str, body: dict | None
) -> None:
    image_id = upload(program, url)["id"]
    other = factories.make_project(owner, "Other")
    if body and body.get("mediaIds"):
        body = body | {"mediaIds": [image_id]}
    answer = program.request(method, f"/v1/projects/{other.id}/images{path.format(id=image_id)}", json=body)
    assert answer.status_code == 404, answer.text
    with transaction(writes=False) as session:
        image = session.get(Image, image_id)
        assert (image.split, image.category_id, image.version) == (None, None, 0)


def test_restoring_another_projects_image_does_nothing(program: TestClient, url: str, owner: Actor) -> None:
    image_id = upload(program, url)["id"]
    program.delete(f"{url}/{image_id}")
    other = factories.make_project(owner, "Other")
    answer = program.post(f"/v1/projects/{other.id}/images/restore", json={"mediaIds": [image_id]})
    assert answer.json()["data"]["count"] == 0
    assert program.get(f"{url}/{image_id}").status_code == 404


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.MEMBER, {"upload", "label", "tag", "new_tag", "split", "delete"}),
        (Role.LABELER, {"upload", "label", "tag"}),
        (Role.VIEWER, set()),
    ],
)
def test_each_role_does_what_it_may(
    program: TestClient, program_as, people: dict[Role, Actor], url: str, role: Role, allowed: set[str]
) -> None:
    image_id = upload(program, url)["id"]
    program.post(f"{url}/tags", json={"tagNames": ["known"], "mediaIds": [image_id]})
    # Labelers and viewers make no keys of their own; an owner's key is cut down to the role.
    headers = {"apikey": factories.make_key(people[Role.OWNER], role=role)}
    calls = {
        "upload": ("POST", url, {"files": {"file": ("2.png", picture_bytes(2))}}),
        "label": ("PUT", f"{url}/{image_id}/label", {"json": {"className": "good"}}),
        "tag": ("POST", f"{url}/tags", {"json": {"tagNames": ["known"], "mediaIds": [image_id]}}),
        "new_tag": ("POST", f"{url}/tags", {"json": {"tagNames": ["new"], "mediaIds": [image_id]}}),
        "split": ("PUT", f"{url}/{image_id}/split", {"json": {"split": "dev"}}),
        "delete": ("DELETE", f"{url}/{image_id}", {}),
    }
    assert program.get(f"{url}/{image_id}", headers=headers).status_code == 200
    for name, (method, path, arguments) in calls.items():
        answer = program.request(method, path, headers=headers, **arguments)
        assert answer.status_code == (answer.status_code if name in allowed else 403), name
        assert answer.status_code < 300 or name not in allowed, (name, answer.text)
