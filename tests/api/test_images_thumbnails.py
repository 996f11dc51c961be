"""Thumbnails: made by a worker in batches, or at once where somebody looks first; 16 bits are made visible."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import event

from app.core.errors import Unavailable
from app.db.session import get_engine
from app.db.tables import Project
from app.images import thumbnails
from app.queue import current
from app.storage import keys
from app.storage.current import blobs
from tests.api.test_images_upload import send, stored
from tests.factories import picture_bytes
from worker.tasks.thumbnails import make_thumbnails


def sixteen_bits(file_format: str) -> bytes:
    """Return a ramp as a 12-bit camera stores it: all of it in the lowest sixteenth of the scale."""
    ramp = np.linspace(0, 4095, 400 * 300).reshape(300, 400).astype(np.uint16)
    out = io.BytesIO()
    Picture.fromarray(ramp).save(out, file_format)
    return out.getvalue()


def test_a_worker_makes_what_is_missing_once(browser: TestClient, project: Project) -> None:
    send(browser, project, [(f"{n}.png", picture_bytes(n, size=(640, 480))) for n in range(3)])
    make_thumbnails.run(str(project.id))
    images = stored(project)
    assert all(image.thumb_key == keys.thumbnail(project.id, image.sha256) for image in images)
    picture = Picture.open(io.BytesIO(blobs().read(images[0].thumb_key)))
    assert (picture.format, picture.size) == ("WEBP", (320, 240))
    assert thumbnails.make_missing(project.id) == 0


def test_one_lost_original_does_not_keep_the_others_waiting(browser: TestClient, project: Project) -> None:
    send(browser, project, [(f"{n}.png", picture_bytes(n)) for n in range(3)])
    blobs().delete(stored(project)[1].blob_key)
    assert thumbnails.make_missing(project.id) == 2
    assert [image.thumb_key is None for image in stored(project)] == [False, True, False]


def test_looking_before_the_worker_came_makes_it(program: TestClient, browser: TestClient, project: Project) -> None:
    (result,) = send(browser, project, [("a.png", picture_bytes(1, size=(640, 480)))])
    url = f"/v1/projects/{project.id}/images/{result['image_id']}/thumbnail"
    first, second = program.get(url), program.get(url)
    assert first.content == second.content
    assert Picture.open(io.BytesIO(first.content)).size == (320, 240)


def test_small_pictures_are_not_blown_up(browser: TestClient, project: Project) -> None:
    send(browser, project, [("a.png", picture_bytes(1, size=(20, 10)))])
    assert Picture.open(thumbnails.open_thumbnail(stored(project)[0])).size == (20, 10)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_the_lower_bits_of_a_camera_are_seen(browser: TestClient, project: Project, file_format: str) -> None:
    send(browser, project, [("a", sixteen_bits(file_format))])
    (image,) = stored(project)
    file, media_type = thumbnails.open_display(image)
    shown = np.asarray(Picture.open(file))
    assert media_type == "image/png"
    assert shown.shape == (300, 400)
    assert (int(shown.min()), int(shown.max())) == (0, 255)
    thumb = np.asarray(Picture.open(thumbnails.open_thumbnail(image)).convert("L"))
    assert int(thumb.max()) - int(thumb.min()) > 240


@pytest.mark.parametrize(
    ("file_format", "is_original"), [("PNG", True), ("JPEG", True), ("WEBP", True), ("TIFF", False)]
)
def test_browsers_get_what_they_can_read(
    browser: TestClient, project: Project, file_format: str, is_original: bool
) -> None:
    content = picture_bytes(1, file_format=file_format)
    send(browser, project, [("a", content)])
    (image,) = stored(project)
    for _ in range(2):
        file, media_type = thumbnails.open_display(image)
        with file:
            assert (file.read() == content) is is_original
        assert (media_type == "image/png") is (file_format in {"PNG", "TIFF"})


def test_a_broker_that_is_down_costs_an_upload_nothing(browser: TestClient, project: Project) -> None:
    class Down:
        def send(self, task: str, argument: str, *, queue: str) -> None:
            raise Unavailable("down")

    before = current.use(Down())
    try:
        (result,) = send(browser, project, [("a.png", picture_bytes(1))])
        thumbnails.send_requests()  # fails, and keeps the request for later
    finally:
        working = current.use(before)
    assert result["status"] == "created"
    assert isinstance(working, Down)
    thumbnails.forget_requests()


def test_a_batch_costs_few_statements(browser: TestClient, project: Project) -> None:
    statements: list[str] = []

    def note(_connection, _cursor, statement: str, *_: object) -> None:
        statements.append(statement.split(maxsplit=1)[0])

    send(browser, project, [("warm.png", picture_bytes(999))])
    event.listen(get_engine(), "before_cursor_execute", note)
    try:
        send(browser, project, [(f"good/{n}.png", picture_bytes(n)) for n in range(40)], folders_as_classes="true")
    finally:
        event.remove(get_engine(), "before_cursor_execute", note)
    assert len([one for one in statements if one in {"INSERT", "UPDATE"}]) <= 4, statements
    assert len(statements) <= 14, statements
