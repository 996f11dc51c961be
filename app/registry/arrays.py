"""What a model said of every image, as arrays: read once, kept for the next drag of the slider."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.bundle import BundleManifest
from app.db.tables import ModelVersion, Prediction
from app.inference.array_types import Bools, Floats, Ints
from app.inference.bootstrap import Estimate
from app.registry.schemas import UNLABELLED

_CACHE_BYTES = 128_000_000


@dataclass(frozen=True, eq=False)
class SplitArrays:
    """One split of a model's predictions; N images in the order of their ids, K classes.

    `truth` (N,) indexes the bundle's classes, all -1 for images without a label.
    """

    image_ids: Ints
    truth: Ints
    scores: Floats
    memo: dict[str, Estimate] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.image_ids)

    def estimate(self, name: str, make: Callable[[], Estimate]) -> Estimate:
        """Return a figure that no threshold changes, computed at the first call."""
        if name not in self.memo:
            self.memo[name] = make()
        return self.memo[name]


@dataclass(frozen=True, eq=False)
class ModelArrays:
    """All predictions of a model, by split; images without a label are the split `unlabelled`."""

    splits: dict[str, SplitArrays]
    n_classes: int

    @property
    def n_bytes(self) -> int:
        return sum(split.scores.nbytes + 16 * len(split) for split in self.splits.values())

    def of(self, split: str) -> SplitArrays:
        """Return a split, empty where the model has no image in it."""
        found = self.splits.get(split)
        if found is not None:
            return found
        nothing = np.zeros(0, dtype=np.int64)
        return SplitArrays(nothing, nothing, np.zeros((0, self.n_classes)))


class _Sized(Protocol):
    @property
    def n_bytes(self) -> int: ...


A = TypeVar("A", bound=_Sized)


class ArrayCache(Generic[A]):
    """The arrays used last, up to a number of bytes. A published model's predictions never change. Thread-safe."""

    def __init__(self, max_bytes: int = _CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[UUID, A] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model_id: UUID, load: Callable[[], A]) -> A:
        """Return a model's arrays, loaded where they are not kept."""
        with self._lock:
            if model_id in self._kept:
                self._kept.move_to_end(model_id)
                return self._kept[model_id]
        arrays = load()
        with self._lock:
            self._kept[model_id] = arrays
            while len(self._kept) > 1 and sum(kept.n_bytes for kept in self._kept.values()) > self._max_bytes:
                self._kept.popitem(last=False)
        return arrays


_cache: ArrayCache[ModelArrays] = ArrayCache()


def arrays_of(session: Session, model: ModelVersion, manifest: BundleManifest) -> ModelArrays:
    """Return what a model said of every image, read from the database where it is not kept yet."""
    return _cache.get(model.id, lambda: _load(session, model.id, manifest))


def _load(session: Session, model_id: UUID, manifest: BundleManifest) -> ModelArrays:
    rows = session.execute(
        select(Prediction.image_id, Prediction.split, Prediction.true_category_id, Prediction.scores)
        .where(Prediction.model_id == model_id)
        .order_by(Prediction.image_id)
    ).all()
    return make_arrays([(row[0], row[1], row[2], row[3]) for row in rows], manifest)


def make_arrays(
    rows: Sequence[tuple[int, str | None, int | None, Sequence[float]]], manifest: BundleManifest
) -> ModelArrays:
    """Return predictions as arrays. `rows` are (image id, split, labelled class id, scores), in the order of the ids.

    An image without a split, or of a class that the bundle does not know, counts as unlabelled.
    """
    place = {category.id: index for index, category in enumerate(manifest.categories)}
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    truth = np.array([place.get(row[2], -1) if row[2] is not None else -1 for row in rows], dtype=np.int64)
    scores = np.array([row[3] for row in rows], dtype=np.float64).reshape(len(rows), len(place))
    names = np.array(
        [str(row[1]) if row[1] and known >= 0 else UNLABELLED for row, known in zip(rows, truth, strict=True)]
    )
    truth[names == UNLABELLED] = -1
    splits = {str(name): _part(ids, truth, scores, names == name) for name in np.unique(names)}
    return ModelArrays(splits, n_classes=len(place))


def _part(ids: Ints, truth: Ints, scores: Floats, chosen: Bools) -> SplitArrays:
    return SplitArrays(ids[chosen], truth[chosen], scores[chosen])
