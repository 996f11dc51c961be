"""The seam of blob storage."""

from pathlib import Path
from typing import BinaryIO, Protocol


class BlobStorage(Protocol):
    """Bytes by key.

    A key is made by `app.storage.keys` only, and written once: the same key always holds the same bytes.
    """

    def put(self, key: str, content: bytes | BinaryIO | Path) -> None:
        """Store `content` under `key`, whole or not at all. A key that exists is replaced."""

    def open(self, key: str) -> BinaryIO:
        """Return a readable, seekable file.

        Raises:
            BlobMissing: Nothing is stored under `key`.
        """

    def read(self, key: str) -> bytes:
        """Return all bytes. Raises `BlobMissing` as `open` does."""

    def local_path(self, key: str) -> Path:
        """Return a file on this machine with the bytes of `key`, fetched once where the store is remote.

        Raises:
            BlobMissing: Nothing is stored under `key`.
        """

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens where it does not exist."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove every key below `prefix` (a whole path component)."""
