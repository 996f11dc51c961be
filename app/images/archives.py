"""Pictures out of a zip, one after another.

Nothing is unpacked to a folder, and nothing that an archive says of itself is believed before it is checked.
"""

import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from app.core.errors import PayloadTooLarge, UnsupportedMedia
from app.images.ingest import Incoming, Refused
from app.images.naming import clean_name
from app.settings import get_settings

MAX_RATIO = 200
RATIO_FREE_BYTES = 1_000_000  # a flat picture of a few kB may well shrink a thousandfold
MAX_ENTRY_NAME = 1000

_END = b"PK\x05\x06"
_LOCATOR = b"PK\x06\x07"
_LOCATOR_BYTES = 20
_END64_BYTES = 76  # with its locator
_ENTRY = b"PK\x01\x02"
_MAX_COMMENT = 0xFFFF
_MAX_DIRECTORY_BYTES = 100_000_000
_JUNK_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_JUNK_FOLDERS = frozenset({"__macosx", ".git", ".svn"})
_NESTED = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"})


class BrokenArchive(UnsupportedMedia):
    """The zip cannot be read."""

    code, title = "broken_archive", "Damaged zip"


class ArchiveTooLarge(PayloadTooLarge):
    """The zip would unpack to more than is allowed."""

    code, title = "archive_too_large", "Zip too large"


def is_zip(head: bytes) -> bool:
    """Tell whether these first bytes start a zip (also an empty one)."""
    return head[:4] in {b"PK\x03\x04", _END}


@dataclass
class Archive:
    """A zip of pictures. Iterate `files()`; afterwards `skipped` says what was passed over, by reason.

    Raises:
        BrokenArchive: It is not a zip that can be read.
        ArchiveTooLarge: It has too many entries, or would unpack to too much.
    """

    file: BinaryIO
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        settings = get_settings()
        n_bytes = _check_directory(self.file, max_entries=settings.max_zip_entries)
        try:
            self._zip = zipfile.ZipFile(self.file)
        except (zipfile.BadZipFile, ValueError, OSError, EOFError, struct.error, NotImplementedError) as error:
            raise BrokenArchive("The zip is damaged or cut off.") from error
        total = sum(entry.file_size for entry in self._zip.infolist())
        limit = settings.max_zip_gb * 1e9
        if total > limit:
            raise ArchiveTooLarge(
                f"The zip would unpack to {total / 1e9:,.1f} GB; the most is {settings.max_zip_gb:,.0f} GB.",
                max_bytes=int(limit),
            )
        if total > max(n_bytes * MAX_RATIO, RATIO_FREE_BYTES * 10):
            raise ArchiveTooLarge(
                f"The zip of {n_bytes / 1e6:,.1f} MB would unpack to {total / 1e6:,.0f} MB. Pictures do not shrink "
                "that far: it looks like a zip bomb.",
                max_ratio=MAX_RATIO,
            )

    def files(self) -> Iterator[Incoming | Refused]:
        """Yield what is to be looked at, and refusals of entries that no honest archive holds."""
        for entry in self._zip.infolist():
            if entry.is_dir():
                continue
            reason = _why_skipped(entry.filename)
            if reason is not None:
                self.skipped[reason] += 1
                continue
            detail = _why_refused(entry)
            if detail is not None:
                yield Refused(clean_name(entry.filename), detail)
            else:
                yield Incoming(entry.filename, _Opener(self._zip, entry))

    def close(self) -> None:
        self._zip.close()


@dataclass(frozen=True)
class _Opener:
    """Opens one entry, from any thread."""

    archive: zipfile.ZipFile
    entry: zipfile.ZipInfo

    def __call__(self) -> BinaryIO:
        try:
            return cast("BinaryIO", _Entry(self.archive.open(self.entry)))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, struct.error) as error:
            raise BrokenArchive("This file of the zip is damaged, or packed in a way that is not read.") from error


class _Entry:
    """A file of a zip whose faults are ours: the checksum is compared, and the announced size is never exceeded."""

    def __init__(self, raw: object) -> None:
        self._raw = cast("BinaryIO", raw)

    def read(self, size: int = -1) -> bytes:
        try:
            return self._raw.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise BrokenArchive("This file of the zip is damaged.") from error

    def __enter__(self) -> "_Entry":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()


def _why_skipped(name: str) -> str | None:
    """Return why an entry is passed over in silence, or None."""
    path = PurePosixPath(name.replace("\\", "/").lower())
    if path.name in _JUNK_NAMES or path.name.startswith("._") or _JUNK_FOLDERS.intersection(path.parts):
        return "system files"
    if path.suffix in _NESTED:
        return "archives inside the zip"
    return None


def _why_refused(entry: zipfile.ZipInfo) -> str | None:
    name = entry.filename
    path = PurePosixPath(name.replace("\\", "/"))
    if ".." in path.parts or path.is_absolute() or name[1:2] == ":" or len(name) > MAX_ENTRY_NAME:
        return "Its path inside the zip leads out of it."
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        return "It is a link or a device, not a file."
    if entry.flag_bits & 0x1:
        return "It is encrypted. Pack the zip without a password."
    if entry.file_size > max(entry.compress_size * MAX_RATIO, RATIO_FREE_BYTES):
        return f"It would unpack to {entry.file_size / max(entry.compress_size, 1):,.0f} times its size: a zip bomb."
    if entry.file_size > get_settings().max_image_mb * 1_000_000:
        return f"The file is larger than {get_settings().max_image_mb:,} MB, the most that one image may have."
    return None


def _check_directory(file: BinaryIO, *, max_entries: int) -> int:
    """Count the entries before anything is made of them; return the length of the file in bytes.

    `zipfile` keeps every entry in memory, and its end record may lie about their number.
    """
    n_bytes = file.seek(0, 2)
    file.seek(max(0, n_bytes - _MAX_COMMENT - 200))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < 22:
        raise BrokenArchive("The zip is damaged or cut off.")
    size = struct.unpack_from("<L", tail, end + 12)[0]
    if end >= _END64_BYTES and tail[end - _LOCATOR_BYTES :].startswith(_LOCATOR):
        end -= _END64_BYTES  # where `zipfile` looks for it too, whatever the locator says
        size = struct.unpack_from("<Q", tail, end + 40)[0]
    start = n_bytes - len(tail) + end - size
    if size > _MAX_DIRECTORY_BYTES or start < 0:
        raise BrokenArchive("The zip is damaged or cut off.")
    file.seek(start)
    count = file.read(size).count(_ENTRY)
    file.seek(0)
    if count > max_entries:
        raise ArchiveTooLarge(
            f"The zip has {count:,} files; the most is {max_entries:,}. Split it.", max_entries=max_entries
        )
    if count == 0 and size:
        raise BrokenArchive("The zip is damaged or cut off.")
    return n_bytes
