"""Taking files in: each is read once, hashed while it is read, decoded to its end, and stored byte for byte.

Nothing here touches the database, so nothing here can hold its lock. A file that is refused leaves no trace.
"""

import errno
import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from app.core import pictures
from app.core.errors import AppError, PayloadTooLarge
from app.core.pictures import NotAPicture, PictureInfo
from app.images.gate import N_DECODERS, room_for
from app.images.naming import clean_name, folder_of
from app.settings import get_settings
from app.storage import keys
from app.storage.current import blobs

IN_MEMORY_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 16


class StorageFull(AppError):
    """The disk has no room left for what was sent."""

    status, code, title = 507, "storage_full", "No space left"


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture whose bytes are in the store. `folder` is the last folder of the path that it came by."""

    name: str
    folder: str | None
    sha256: str
    blob_key: str
    n_bytes: int
    info: PictureInfo


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that was not taken, and the sentence that says why."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file on its way in: the path or name that the sender gave it, and how to open it."""

    path: str
    open: Callable[[], BinaryIO]


def take(source: BinaryIO, *, path: str, project_id: int) -> Taken:
    """Check one file and put it into the store.

    Args:
        source: Read from where it stands to its end.
        path: The name, or the path within a folder, that its sender gave it. Kept as text only.

    Raises:
        NotAPicture: It is empty, or none of JPEG, PNG, BMP, WebP and TIFF, whatever its name says.
        BrokenPicture: It is damaged or cut off.
        PictureTooLarge: It has too many pixels.
        PayloadTooLarge: It has too many bytes.
        StorageFull: The disk is full.
    """
    try:
        return _take(source, path, project_id)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageFull("The server's disk is full. Make room there, then upload again.") from error


def _take(source: BinaryIO, path: str, project_id: int) -> Taken:
    settings = get_settings()
    with _read(source, max_bytes=settings.max_image_mb * 1_000_000) as (content, sha256, n_bytes):
        max_pixels = settings.max_image_megapixels * 1_000_000
        info = pictures.verify(content, max_pixels=max_pixels, room_for=room_for)
        key = keys.original(project_id, sha256)
        blobs().put(key, content)
    return Taken(clean_name(path), folder_of(path), sha256, key, n_bytes, info)


def take_all(incoming: Iterable[Incoming | Refused], *, project_id: int) -> Iterator[Taken | Refused]:
    """Check and store many files on all cores; yield what became of each, in their order.

    What is refused already passes through. Only a few files are open or in memory at a time, however many there are.
    """
    waiting: deque[Future[Taken | Refused]] = deque()
    try:
        for item in incoming:
            waiting.append(_pool().submit(_take_or_refuse, item, project_id))
            if len(waiting) >= 2 * N_DECODERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _take_or_refuse(item: Incoming | Refused, project_id: int) -> Taken | Refused:
    if isinstance(item, Refused):
        return item
    try:
        with item.open() as source:
            return take(source, path=item.path, project_id=project_id)
    except AppError as error:
        return Refused(clean_name(item.path), error.detail)


@lru_cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(N_DECODERS, thread_name_prefix="ingest")


@contextmanager
def _read(source: BinaryIO, *, max_bytes: int) -> Iterator[tuple[bytes | Path, str, int]]:
    """Give the content (a temporary file when it is large), its SHA-256 and its length."""
    head = source.read(IN_MEMORY_BYTES)
    if not head:
        raise NotAPicture("The file is empty.")
    if pictures.sniff(head[:_HEAD_BYTES]) is None:
        # Known from the first bytes: the rest of an archive's entry is not even unpacked.
        raise NotAPicture(_what_it_is(head[:512]))
    if len(head) < IN_MEMORY_BYTES:
        if len(head) > max_bytes:
            raise _too_many_bytes(max_bytes)
        yield head, hashlib.sha256(head).hexdigest(), len(head)
        return
    digest = hashlib.sha256()
    n_bytes = 0
    with tempfile.NamedTemporaryFile(prefix="kizu-ingest-") as file:
        chunk = head
        while chunk:
            n_bytes += len(chunk)
            if n_bytes > max_bytes:
                raise _too_many_bytes(max_bytes)
            digest.update(chunk)
            file.write(chunk)
            chunk = source.read(_CHUNK_BYTES)
        file.flush()
        yield Path(file.name), digest.hexdigest(), n_bytes


def _too_many_bytes(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The file is larger than {max_bytes / 1e6:,.0f} MB, the most that one image may have.", max_bytes=max_bytes
    )


def _what_it_is(head: bytes) -> str:
    """Return why a file is no picture, naming what people most often try."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    reads = "Use JPEG, PNG, BMP, WebP or TIFF."
    if start.startswith((b"<!doctype html", b"<html")):
        return f"This is a web page (HTML), not a picture. {reads}"
    if b"<svg" in start:
        return f"SVG drawings are not read: they are programs as much as pictures. {reads}"
    if start.startswith(b"gif8"):
        return f"GIF is not read. {reads}"
    if head[4:8] == b"ftyp":
        return f"This is a film or a HEIC or AVIF picture. {reads}"
    if start.startswith(b"%pdf"):
        return f"This is a PDF, not a picture. {reads}"
    return f"This is not a picture that Kizu reads. {reads}"
