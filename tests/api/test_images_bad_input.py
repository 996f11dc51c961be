"""Bad input: each file gets a clear sentence, and harms nothing else."""

import io
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import event, select

from app.accounts.permissions import Actor
from app.core.errors import AppError
from app.datasets import service as dataset_service
from app.db.session import get_engine, transaction
from app.db.tables import DatasetVersion, Project
from app.images import archives, ingest, joining, uploading
from app.images.adding import Extras, Fate, FileStatus
from app.images.service import purge_deleted
from app.settings import Settings
from tests.api.test_images_upload import send, stored, zip_bytes
from tests.factories import picture_bytes


def huge_png(width: int, height: int) -> bytes:
    """Return a small PNG whose header announces this size; its pixels are one short stream of zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _cmyk() -> bytes:
    out = io.BytesIO()
    Picture.open(io.BytesIO(picture_bytes(1))).convert("CMYK").save(out, "JPEG")
    return out.getvalue()


def _palette() -> bytes:
    out = io.BytesIO()
    Picture.open(io.BytesIO(picture_bytes(1))).quantize(16).save(out, "PNG")
    return out.getvalue()


def _turned(orientation: int) -> bytes:
    exif = Picture.Exif()
    exif[0x0112] = orientation
    return picture_bytes(1, file_format="JPEG", exif=exif)


def float_tiff() -> bytes:
    out = io.BytesIO()
    Picture.fromarray(np.zeros((4, 4), np.float32)).save(out, "TIFF")
    return out.getvalue()


GOOD = picture_bytes(100)
BAD: dict[str, tuple[str, bytes, str]] = {
    "0 byte": ("empty.png", b"", "empty"),
    "truncated PNG": ("cut.png", picture_bytes(1, size=(200, 200))[:20_000], "cut off"),
    "truncated JPEG": ("cut.jpg", picture_bytes(1, size=(200, 200), file_format="JPEG")[:9_000], "cut off"),
    "truncated TIFF": ("cut.tif", picture_bytes(1, size=(200, 200), file_format="TIFF")[:20_000], "cut off"),
    "truncated WebP": ("cut.webp", picture_bytes(1, size=(200, 200), file_format="WEBP")[:2_000], "cut off"),
    "truncated BMP": ("cut.bmp", picture_bytes(1, size=(200, 200), file_format="BMP")[:20_000], "cut off"),
    "header only": ("head.png", b"\x89PNG\r\n\x1a\n", "cut off"),
    "damaged in the middle": (
        "broken.png",
        picture_bytes(1, size=(200, 200))[:5000] + bytes(100) + picture_bytes(1, size=(200, 200))[5100:],
        "damaged",
    ),
    "SVG": ("drawing.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "SVG named PNG": ("drawing.png", b"<svg onload='alert(1)'/>", "SVG"),
    "HTML named JPEG": ("page.jpg", b"  <!DOCTYPE html><script>alert(1)</script>", "HTML"),
    "PDF": ("report.pdf", b"%PDF-1.7", "PDF"),
    "GIF": ("film.gif", b"GIF89a", "GIF"),
    "text": ("readme.png", b"hello", "not a picture"),
    "60,000 x 60,000 PNG": ("huge.png", huge_png(60_000, 60_000), "60,000 x 60,000"),
    "a very long PNG": ("long.png", huge_png(1, 70_000), "70,000"),
    "floating-point TIFF": (
        "float.tif",
        float_tiff(),
        "damaged",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_words_and_the_others_come_in(
    browser: TestClient, project: Project, name: str
) -> None:
    path, content, word = BAD[name]
    results = send(browser, project, [("before.png", GOOD), (path, content), ("after.png", picture_bytes(101))])
    assert [one["status"] for one in results] == ["created", "refused", "created"]
    assert results[1]["name"] == path
    assert word in results[1]["detail"]
    assert len(stored(project)) == 2


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_in_a_zip_is_refused_alone(browser: TestClient, project: Project, name: str) -> None:
    path, content, word = BAD[name]
    packed = zip_bytes(("before.png", GOOD), (path, content), ("after.png", picture_bytes(101)))
    results = send(browser, project, [("all.zip", packed)])
    assert [one["status"] for one in results] == ["created", "refused", "created"]
    assert word in results[1]["detail"]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_by_rest_is_a_problem(program: TestClient, project: Project, name: str) -> None:
    path, content, word = BAD[name]
    answer = program.post(f"/v1/projects/{project.id}/images", files={"file": (path, content)})
    assert answer.status_code in {413, 415}, answer.text
    assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    ("picture", "mode", "size"),
    [
        (lambda: picture_bytes(1, mode="L", file_format="PNG"), "L", (48, 32)),
        (lambda: picture_bytes(1, mode="I;16", file_format="PNG"), "I;16", (48, 32)),
        (lambda: picture_bytes(1, mode="I;16", file_format="TIFF"), "I;16", (48, 32)),
        (lambda: picture_bytes(1, mode="RGB", file_format="TIFF"), "RGB", (48, 32)),
        (lambda: picture_bytes(1, mode="RGBA", file_format="WEBP"), "RGBA", (48, 32)),
        (_cmyk, "CMYK", (48, 32)),
        (lambda: picture_bytes(1, mode="RGB", file_format="BMP"), "RGB", (48, 32)),
        (_palette, "P", (48, 32)),
        (lambda: _turned(6), "RGB", (32, 48)),
        (lambda: _turned(3), "RGB", (48, 32)),
    ],
    ids=["grey", "16-bit PNG", "16-bit TIFF", "TIFF", "alpha", "CMYK", "BMP", "palette", "turned", "upside down"],
)
def test_every_kind_of_picture_comes_in(
    program: TestClient, project: Project, picture: Callable[[], bytes], mode: str, size: tuple[int, int]
) -> None:
    url = f"/v1/projects/{project.id}/images"
    content = picture()
    image_id = program.post(url, files={"file": ("x", content)}).json()["data"]["id"]
    (image,) = stored(project)
    assert (image.mode, (image.width_px, image.height_px)) == (mode, size)
    assert program.get(f"{url}/{image_id}/file").content == content
    thumb = Picture.open(io.BytesIO(program.get(f"{url}/{image_id}/thumbnail").content))
    assert thumb.size == size


# --- zips -------------------------------------------------------------------------------------------------------------


def test_entries_that_lead_out_are_refused_one_by_one(browser: TestClient, project: Project) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../escape.png", picture_bytes(1))
        archive.writestr("/absolute.png", picture_bytes(2))
        archive.writestr("C:\\windows.png", picture_bytes(3))
        archive.writestr(link, "/etc/passwd")
        archive.writestr("fine/4.png", picture_bytes(4))
    results = send(browser, project, [("evil.zip", out.getvalue())])
    assert [(one["name"], one["status"]) for one in results] == [
        ("escape.png", "refused"),
        ("absolute.png", "refused"),
        ("windows.png", "refused"),
        ("link.png", "refused"),
        ("4.png", "created"),
    ]


def test_a_zip_bomb_is_refused_unread(browser: TestClient, project: Project) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.bmp", b"BM" + bytes(60_000_000))
    results = send(browser, project, [("bomb.zip", out.getvalue()), ("fine.png", GOOD)])
    assert [one["status"] for one in results] == ["refused", "created"]
    assert "zip bomb" in results[0]["detail"]


def test_one_entry_that_explodes_is_refused_alone(browser: TestClient, project: Project) -> None:
    noise = np.random.default_rng(0).bytes(400_000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.bmp", b"BM" + bytes(9_000_000))
        archive.writestr("noise.bin", noise)
        archive.writestr("fine.png", GOOD)
    results = send(browser, project, [("all.zip", out.getvalue())])
    assert [one["status"] for one in results] == ["refused", "refused", "created"]
    assert "zip bomb" in results[0]["detail"]


def test_too_many_entries_are_counted_before_they_are_read(
    browser: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "get_settings", lambda: Settings(max_zip_entries=3))
    results = send(browser, project, [("all.zip", zip_bytes(*((f"{n}.txt", b"x") for n in range(4))))])
    assert "4 files; the most is 3" in results[0]["detail"]


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04", b"PK\x03\x04" + bytes(500), b"PK\x05\x06" + bytes(18), zip_bytes(("a.png", GOOD))[:-30]],
    ids=["head", "zeros", "empty", "cut"],
)
def test_a_broken_or_empty_zip_is_said(browser: TestClient, project: Project, content: bytes) -> None:
    results = send(browser, project, [("broken.zip", content), ("fine.png", GOOD)])
    assert [one["status"] for one in results] == ["refused", "created"]
    assert "zip" in results[0]["detail"]


def test_a_wrong_checksum_in_a_zip_is_damage(browser: TestClient, project: Project) -> None:
    content = bytearray(zip_bytes(("a.png", GOOD), ("b.png", picture_bytes(5))))
    content[content.index(GOOD[60:80]) + 3] ^= 0xFF
    results = send(browser, project, [("all.zip", bytes(content))])
    assert [one["status"] for one in results] == ["refused", "created"]


def test_an_encrypted_entry_is_said(browser: TestClient, project: Project) -> None:
    content = bytearray(zip_bytes(("a.png", GOOD)))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (result,) = send(browser, project, [("all.zip", bytes(content))])
    assert "encrypted" in result["detail"]


def test_a_large_file_is_refused_by_its_bytes(
    browser: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "get_settings", lambda: Settings(max_image_mb=1))
    noise = picture_bytes(1, size=(1300, 1300), file_format="BMP")
    (result,) = send(browser, project, [("large.bmp", noise)])
    assert "larger than 1 MB" in result["detail"]


def test_a_file_over_the_memory_limit_goes_through_a_temporary_file(browser: TestClient, project: Project) -> None:
    content = picture_bytes(1, size=(1300, 1300), file_format="BMP")
    assert len(content) > ingest.IN_MEMORY_BYTES
    (result,) = send(browser, project, [("large.bmp", content)])
    assert result["status"] == "created"
    (image,) = stored(project)
    assert image.n_bytes == len(content)


# --- at the same moment -----------------------------------------------------------------------------------------------


def test_the_same_files_at_the_same_moment_come_in_once(owner: Actor, project: Project) -> None:
    contents = [picture_bytes(seed) for seed in range(12)]
    outcomes: list[uploading.Outcome] = []

    def run(order: int) -> None:
        files = [(f"{n}.png", io.BytesIO(content)) for n, content in enumerate(contents)]
        outcomes.append(uploading.upload(actor=owner, project_id=project.id, files=files[::order], extras=Extras()))

    threads = [threading.Thread(target=run, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored(project)) == 12
    assert sum(outcome.counts["created"] for outcome in outcomes) == 12
    assert sum(outcome.counts["duplicate"] for outcome in outcomes) == 36


def join_at_once(
    actor: Actor, project: Project, contents: list[bytes], extras: Extras
) -> tuple[list[Fate], list[AppError], int]:
    """Send pictures one by one from as many threads, which all wait for the database; return what became of them.

    The last value is the number of transactions that it took, ours among them.
    """
    files = [ingest.take(io.BytesIO(content), path="a.png", project_id=project.id) for content in contents]
    fates: list[Fate] = []
    errors: list[AppError] = []
    commits: list[object] = []

    def run(file: ingest.Taken) -> None:
        try:
            fates.append(joining.add_one(actor=actor, project_id=project.id, file=file, extras=extras))
        except AppError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(file,)) for file in files]
    with transaction() as session:
        session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while joining.count_waiting(project.id) < len(files):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        note = commits.append
        event.listen(get_engine(), "commit", note)
    try:
        for thread in threads:
            thread.join()
    finally:
        event.remove(get_engine(), "commit", note)
    return fates, errors, len(commits)


def test_pictures_sent_one_by_one_at_the_same_moment_share_a_transaction(owner: Actor, project: Project) -> None:
    contents = [picture_bytes(seed) for seed in (*range(8), 0)]
    fates, errors, n_commits = join_at_once(owner, project, contents, Extras())
    assert not errors
    assert n_commits <= 4
    created = [fate.image_id for fate in fates if fate.status is FileStatus.CREATED]
    assert sorted(created) == sorted(image.id for image in stored(project))
    (duplicate,) = (fate for fate in fates if fate.status is FileStatus.DUPLICATE)
    assert duplicate.detail == f"The project has this picture already, as “a.png” (image {duplicate.image_id})."


def test_what_is_wrong_with_pictures_sent_at_the_same_moment_is_told_to_each(owner: Actor, project: Project) -> None:
    fates, errors, _ = join_at_once(owner, project, [picture_bytes(seed) for seed in range(4)], Extras(split="half"))
    assert not fates
    assert [error.detail for error in errors] == ["The split is train, dev or test."] * 4
    assert not stored(project)


def test_purging_removes_rows_and_bytes_but_not_those_still_needed(program: TestClient, project: Project) -> None:
    from app.storage.current import blobs

    url = f"/v1/projects/{project.id}/images"
    ids = [
        program.post(url, files={"file": (f"{seed}.png", picture_bytes(seed))}).json()["data"]["id"]
        for seed in range(3)
    ]
    keys = [image.blob_key for image in stored(project)]
    program.delete(url, params={"id": ids[:2]})
    program.post(url, files={"file": ("again.png", picture_bytes(0))})
    with transaction() as session:
        assert purge_deleted(session) == 0
    with transaction() as session:
        assert purge_deleted(session, keep_days=0) == 2
    assert [blobs().exists(key) for key in keys] == [True, False, True]
    assert len(stored(project)) == 2


def test_purging_leaves_the_originals_that_a_dataset_version_names(program: TestClient, project: Project) -> None:
    from app.storage.current import blobs

    url = f"/v1/projects/{project.id}/images"
    labels = ["good", "good", "scratch", "scratch", ""]
    for seed, label in enumerate(labels):
        program.post(url, files={"file": (f"{seed}.png", picture_bytes(seed))}, data={"label": label})
    with transaction() as session:
        version = dataset_service.freeze(session, project=session.get(Project, project.id))
    program.post(url, files={"file": ("late.png", picture_bytes(9))})
    keys = [image.blob_key for image in stored(project)]
    program.delete(url, params={"id": [image.id for image in stored(project)]})
    with transaction() as session:
        assert purge_deleted(session, keep_days=0) == 6
    assert [blobs().exists(key) for key in keys] == [True] * 5 + [False]
    assert {item.blob_key for item in dataset_service.load_items(version).items} == set(keys[:4])


def test_purging_leaves_all_originals_where_nobody_knows_what_a_version_names(
    program: TestClient, project: Project
) -> None:
    from app.storage.current import blobs

    with transaction() as session:
        session.add(
            DatasetVersion(
                project_id=project.id, number=1, content_hash="0" * 64, items_key="gone", n_images=1, counts={}
            )
        )
    program.post(f"/v1/projects/{project.id}/images", files={"file": ("a.png", picture_bytes(1))})
    (image,) = stored(project)
    program.delete(f"/v1/projects/{project.id}/images/{image.id}")
    with transaction() as session:
        assert purge_deleted(session, keep_days=0) == 1
    assert blobs().exists(image.blob_key)
