"""Features that were computed once, kept on disk.

One SQLite file for each way of computing them (backbone, size, resizing, precision, runtime version): thousands of
vectors are read in milliseconds, a killed process loses at most its last second of work, and two processes may read
and write at once. Vectors are raw little-endian floats; nothing is ever unpickled. Deleting a file loses nothing but
time.

D is the length of a feature vector.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from app.contracts.bundle import Precision, Preprocessing

_SCHEMA = """
CREATE TABLE IF NOT EXISTS feature (
    image_sha256 BLOB NOT NULL, view INTEGER NOT NULL, vector BLOB NOT NULL,
    UNIQUE (image_sha256, view)
)
"""
_BUSY_TIMEOUT_S = 30.0
_IDS_A_QUERY = 500
# bf16 arithmetic keeps 8 bits of a number; half precision keeps 11 of it, in half the space of a float.
_STORED_AS: dict[Precision, np.dtype] = {"f32": np.dtype("<f4"), "bf16": np.dtype("<f2")}


@dataclass(frozen=True)
class FeatureKind:
    """One way of computing features; two that differ in anything that shapes the numbers never share a file."""

    backbone: str
    backbone_identity: str
    preprocessing: Preprocessing
    precision: Precision
    runtime: str
    dim: int

    @property
    def file_name(self) -> str:
        facts = (self.backbone_identity, self.preprocessing.model_dump_json(), self.precision, self.runtime, self.dim)
        digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        return f"{self.backbone}-{self.preprocessing.width_px}-{self.precision}-{digest}.sqlite3"


class FeatureStore:
    """Feature vectors of one kind by (SHA-256 of the image's bytes, view). Use as a context manager."""

    def __init__(self, directory: Path, kind: FeatureKind) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.kind = kind
        self.dtype = _STORED_AS[kind.precision]
        self._connection = sqlite3.connect(directory / kind.file_name, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        # WAL lets a reader and a writer work at once; NORMAL may lose the last commits on a power cut, never the file.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(_SCHEMA)

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def rounded(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors as they will be read back, so that a fit does not depend on what was cached already."""
        return vectors.astype(self.dtype)

    def present(self, image_sha256: Iterable[str], view: int) -> set[str]:
        """Return those of the images whose vector is stored."""
        found: set[str] = set()
        for chunk in _chunks(sorted(set(image_sha256))):
            marks = ",".join("?" * len(chunk))
            rows = self._connection.execute(
                f"SELECT image_sha256 FROM feature WHERE view = ? AND image_sha256 IN ({marks})",  # noqa: S608 - marks
                (view, *map(bytes.fromhex, chunk)),
            )
            found.update(row[0].hex() for row in rows)
        return found

    def read(self, image_sha256: Iterable[str], view: int) -> dict[str, np.ndarray]:
        """Return the stored vectors (D,) by image, in `dtype`; missing ones are left out.

        A vector of the wrong length (a file written by a broken disk) counts as missing.
        """
        vectors: dict[str, np.ndarray] = {}
        for chunk in _chunks(sorted(set(image_sha256))):
            marks = ",".join("?" * len(chunk))
            rows = self._connection.execute(
                f"SELECT image_sha256, vector FROM feature "  # noqa: S608 - only question marks are put in
                f"WHERE view = ? AND image_sha256 IN ({marks})",
                (view, *map(bytes.fromhex, chunk)),
            )
            for sha256, blob in rows:
                if len(blob) == self.kind.dim * self.dtype.itemsize:
                    vectors[sha256.hex()] = np.frombuffer(blob, dtype=self.dtype)
        return vectors

    def write(self, vectors: Mapping[tuple[str, int], np.ndarray]) -> None:
        """Store vectors (D,) by (image, view) in one transaction; what is there already stays."""
        rows = [
            (bytes.fromhex(sha256), view, np.ascontiguousarray(vector, dtype=self.dtype).tobytes())
            for (sha256, view), vector in vectors.items()
        ]
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                cursor.executemany("INSERT OR IGNORE INTO feature VALUES (?, ?, ?)", rows)
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def count(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM feature").fetchone()[0])


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(ids), _IDS_A_QUERY):
        yield ids[start : start + _IDS_A_QUERY]
