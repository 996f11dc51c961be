"""Blobs as files below one folder."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

from app.core.paths import inside
from app.storage.errors import BlobMissing

_MOST_FOLDERS = 4096


class LocalStorage:
    """Files below `root`. A file appears under its key by a rename, so that no reader sees half of it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # True names of folders that were written to: finding one takes as long as writing a small file.
        self._folders: dict[str, str] = {}

    def put(self, key: str, content: bytes | BinaryIO | Path) -> None:
        folder, name = self._place(key)
        partial = f"{folder}/.{name}.{secrets.token_hex(16)}"
        file = _create(partial)
        try:
            with file:
                if isinstance(content, bytes):
                    file.write(content)
                elif isinstance(content, Path):
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                else:
                    shutil.copyfileobj(content, file, 1 << 20)
            os.replace(partial, f"{folder}/{name}")  # noqa: PTH105
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def open(self, key: str) -> BinaryIO:
        return self.local_path(key).open("rb")

    def read(self, key: str) -> bytes:
        return self.local_path(key).read_bytes()

    def local_path(self, key: str) -> Path:
        path = inside(self._root, key)
        if not path.is_file():
            raise BlobMissing("The file that belongs here is no longer in the store.")
        return path

    def exists(self, key: str) -> bool:
        return inside(self._root, key).is_file()

    def delete(self, key: str) -> None:
        inside(self._root, key).unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        folder = inside(self._root, prefix)
        if folder == Path(os.path.realpath(self._root)):
            raise ValueError("the whole store is not a prefix")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def _place(self, key: str) -> tuple[str, str]:
        """Return the folder, resolved, and the name within it of a file to write. Raises `ValueError` as `inside`."""
        front, _, name = key.rpartition("/")
        if name in {"", ".", ".."} or "\0" in name:
            raise ValueError(f"no path of a file: {key!r}")
        folder = self._folders.get(front)
        if folder is None:
            if len(self._folders) >= _MOST_FOLDERS:
                self._folders.clear()
            folder = self._folders[front] = str(inside(self._root, front))
        return folder, name


def _create(path: str) -> BinaryIO:
    """Open a new file, its folder made where it is missing."""
    try:
        return open(path, "xb")  # noqa: PTH123 - closed by the caller; a `Path` costs as much as the call
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open(path, "xb")  # noqa: PTH123
