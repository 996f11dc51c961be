"""Blobs as files below one folder."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from app.core.ids import new_uuid
from app.core.paths import inside
from app.storage.errors import BlobMissing


class LocalStorage:
    """Files below `root`. A file appears under its key by a rename, so that no reader sees half of it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes | BinaryIO | Path) -> None:
        target = inside(self._root, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{new_uuid().hex}")
        try:
            with partial.open("xb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                elif isinstance(content, Path):
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                else:
                    shutil.copyfileobj(content, file, 1 << 20)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
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
