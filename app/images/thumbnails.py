"""Small pictures for grids and strips: made by a worker, or at once where somebody looks before the worker came."""

import io
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image as Picture
from PIL import ImageOps
from sqlalchemy import select, update

from app.core import pictures
from app.core.errors import AppError
from app.db.session import transaction
from app.db.tables import Image
from app.db.visibility import WITH_REFERENCES
from app.images.gate import room_for
from app.queue import current
from app.queue.base import JobQueue
from app.storage import keys
from app.storage.current import blobs
from app.storage.errors import BlobMissing

log = logging.getLogger(__name__)

TASK = "images.thumbnails"
SIDE_PX = 320
QUALITY = 78
BATCH = 64
GATHER_S = 0.5
RETRY_S = 20.0
MEDIA_TYPE = "image/webp"
DISPLAY_MEDIA_TYPE = "image/png"

# What browsers show by themselves, as it is. Of 16 bits they would show the upper eight: a 12-bit picture is black.
_SHOWN_AS_IT_IS = frozenset({"jpeg", "png", "bmp", "webp"})
_WIDE_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})


# --- asking a worker --------------------------------------------------------------------------------------------------


class _Requests:
    """Gathers requests for half a second and sends one message a project, from a thread of its own.

    Thousands of uploads a minute become two messages a second, and an upload never waits for a broker that is down:
    what could not be sent is tried again after a while. A message that is lost with its process costs nothing either,
    for thumbnails are also made when they are first looked at.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, JobQueue] = {}
        self._timer: threading.Timer | None = None

    def add(self, project_id: int) -> None:
        with self._lock:
            self._waiting[project_id] = current.current()
            self._send_after(GATHER_S)

    def send(self) -> None:
        """Send what waits, now."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
        for project_id, queue in waiting.items():
            try:
                queue.send(TASK, str(project_id), queue="cpu")
            except AppError as error:
                log.info("thumbnails of project %s are asked for again later: %s", project_id, error.detail)
                with self._lock:
                    self._waiting.setdefault(project_id, queue)
                    self._send_after(RETRY_S)

    def forget(self) -> None:
        with self._lock:
            self._waiting.clear()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None

    def _send_after(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = threading.Timer(seconds, self.send)
            self._timer.daemon = True
            self._timer.start()


_requests = _Requests()


def request(project_id: int) -> None:
    """Ask a worker, a moment later, for the thumbnails that the project lacks. Call it after the commit."""
    _requests.add(project_id)


def send_requests() -> None:
    """Send the requests that are being gathered without waiting. For tests and for a process that ends."""
    _requests.send()


def forget_requests() -> None:
    """Drop what is being gathered or tried again. For tests."""
    _requests.forget()


# --- making them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Todo:
    image_id: int
    project_id: int
    sha256: str
    blob_key: str


def make_missing(project_id: int) -> int:
    """Make every thumbnail that the project lacks; return how many were made.

    Commits after each batch. Safe to run twice, also at the same time: the same picture gives the same file.
    """
    made = 0
    after = 0
    while batch := _next_batch(project_id, after):
        after = batch[-1].image_id
        with ThreadPoolExecutor(2) as pool:
            done = [image_id for image_id in pool.map(_make_one, batch) if image_id is not None]
        _store_keys(project_id, [todo for todo in batch if todo.image_id in set(done)])
        made += len(done)
    return made


def _next_batch(project_id: int, after: int) -> list[_Todo]:
    query = (
        select(Image.id, Image.project_id, Image.sha256, Image.blob_key)
        .where(Image.project_id == project_id, Image.thumb_key.is_(None), Image.id > after)
        .order_by(Image.id)
        .limit(BATCH)
    )
    with transaction(writes=False) as session:
        return [_Todo(*row) for row in session.execute(query, execution_options=WITH_REFERENCES)]


def _make_one(todo: _Todo) -> int | None:
    key = keys.thumbnail(todo.project_id, todo.sha256)
    try:
        if not blobs().exists(key):  # somebody looked before we came, or another worker was faster
            blobs().put(key, encode(blobs().local_path(todo.blob_key)))
    except AppError as error:  # one picture that is gone must not keep the others from theirs
        log.warning("no thumbnail for image %s: %s", todo.image_id, error.detail)
        return None
    return todo.image_id


def _store_keys(project_id: int, batch: Sequence[_Todo]) -> None:
    if batch:
        with transaction() as session:
            session.execute(
                update(Image),
                [{"id": todo.image_id, "thumb_key": keys.thumbnail(project_id, todo.sha256)} for todo in batch],
            )


def open_thumbnail(image: Image) -> BinaryIO:
    """Return the thumbnail of an image, a WebP file, made and kept now where there is none.

    Needs no transaction of the caller's, and none should be held: making one takes a while.

    Raises:
        BlobMissing: The original is no longer in the store.
        BrokenPicture: The original can no longer be decoded.
    """
    key = keys.thumbnail(image.project_id, image.sha256)
    try:
        return blobs().open(key)
    except BlobMissing:
        content = encode(blobs().local_path(image.blob_key))
        blobs().put(key, content)
        return io.BytesIO(content)


def open_original(image: Image) -> BinaryIO:
    """Return the original, byte for byte. Raises `BlobMissing` where it is no longer in the store."""
    return blobs().open(image.blob_key)


def open_display(image: Image) -> tuple[BinaryIO, str]:
    """Return a file that every browser shows, and its media type.

    It is the original itself wherever browsers read it; a TIFF or a picture of 16 bits becomes a PNG, made once.
    Raises as `open_thumbnail` does.
    """
    if image.format in _SHOWN_AS_IT_IS and image.mode not in _WIDE_MODES and image.mode != "CMYK":
        return blobs().open(image.blob_key), pictures.MEDIA_TYPES[image.format]  # type: ignore[index]
    key = keys.display(image.project_id, image.sha256)
    try:
        return blobs().open(key), DISPLAY_MEDIA_TYPE
    except BlobMissing:
        out = io.BytesIO()
        shown(blobs().local_path(image.blob_key)).save(out, "PNG", compress_level=3)
        blobs().put(key, out.getvalue())
        return io.BytesIO(out.getvalue()), DISPLAY_MEDIA_TYPE


def encode(path: Path) -> bytes:
    """Return the picture in `path`, at most `SIDE_PX` a side, as WebP."""
    picture = shown(path, at_least_px=SIDE_PX)
    picture.thumbnail((SIDE_PX, SIDE_PX), Picture.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY, method=2)
    return out.getvalue()


def shown(path: Path, *, at_least_px: int | None = None) -> Picture.Image:
    """Return the picture as people should see it: 8 bits, upright.

    16 bits are laid between their 0.5 and 99.5 percentiles, for cameras of 10 or 12 bits fill only the lower end of
    the scale. Models get `pictures.decode`, which keeps the exposure.
    """
    info = pictures.probe(path, max_pixels=_max_pixels())
    with room_for(info):
        if info.mode not in _WIDE_MODES:
            return pictures.decode(path, max_pixels=_max_pixels(), at_least_px=at_least_px)
        return _windowed(path, info)


def _windowed(path: Path, info: pictures.PictureInfo) -> Picture.Image:
    with Picture.open(path, formats=[info.format.upper()]) as image:
        try:
            values = np.asarray(ImageOps.exif_transpose(image)).astype(np.float32)
        except (OSError, ValueError, SyntaxError) as error:
            raise pictures.BrokenPicture("The picture is damaged or cut off.") from error
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = (values - low) * (255 / max(high - low, 1.0))
    return Picture.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))


@lru_cache
def _max_pixels() -> int:
    from app.settings import get_settings

    return get_settings().max_image_megapixels * 1_000_000
