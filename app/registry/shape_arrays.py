"""What a model that finds shapes said of every image, as arrays: read once, kept for the next drag of the slider."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.bundle import BundleManifest
from app.db.tables import ModelVersion, Prediction
from app.inference.array_types import Ints
from app.inference.shape_figures import FoundShapes
from app.registry.arrays import ArrayCache
from app.registry.schemas import UNLABELLED

_BYTES_A_SHAPE = 40

Row = tuple[int, str | None, Sequence[Mapping[str, Any]] | None, Sequence[Mapping[str, Any]] | None]
"""Image id, split, finds with their matches, drawn shapes."""


@dataclass(frozen=True, eq=False)
class ShapeSplit:
    """One split of a model's predictions: N images in the order of their ids, and their shapes.

    `drawn_keys` (N,) differ where something else was drawn.
    """

    image_ids: Ints
    shapes: FoundShapes
    drawn_keys: Ints

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True, eq=False)
class ModelShapes:
    """All predictions of a model, by split; images without a label are the split `unlabelled`."""

    splits: dict[str, ShapeSplit]
    n_classes: int

    @property
    def n_bytes(self) -> int:
        return sum(
            _BYTES_A_SHAPE * (len(split.shapes.find_score) + split.shapes.n_drawn) + 8_000 * len(split)
            for split in self.splits.values()
        )

    def of(self, split: str) -> ShapeSplit:
        """Return a split, empty where the model has no image in it."""
        return self.splits.get(split) or _split([], {}, self.n_classes)


_cache: ArrayCache[ModelShapes] = ArrayCache()


def shapes_of(session: Session, model: ModelVersion, manifest: BundleManifest) -> ModelShapes:
    """Return what a model said of every image, read from the database where it is not kept yet."""
    return _cache.get(model.id, lambda: _load(session, model, manifest))


def _load(session: Session, model: ModelVersion, manifest: BundleManifest) -> ModelShapes:
    rows = session.execute(
        select(Prediction.image_id, Prediction.split, Prediction.shapes, Prediction.drawn)
        .where(Prediction.model_id == model.id)
        .order_by(Prediction.image_id)
    )
    return make_shapes([(row[0], row[1], row[2], row[3]) for row in rows], manifest)


def make_shapes(rows: Iterable[Row], manifest: BundleManifest) -> ModelShapes:
    """Return predictions as arrays; `rows` come in the order of the image ids."""
    place = {category.id: index for index, category in enumerate(manifest.categories)}
    by_split: dict[str, list[Row]] = {}
    for row in rows:
        by_split.setdefault(row[1] or UNLABELLED, []).append(row)
    return ModelShapes({name: _split(part, place, len(place)) for name, part in by_split.items()}, len(place))


def _split(rows: Sequence[Row], place: Mapping[int, int], n_classes: int) -> ShapeSplit:
    drawn: list[tuple[int, int]] = []
    finds: list[tuple[int, int, float, int, int]] = []
    for image, (_, _, found, marked) in enumerate(rows):
        first = len(drawn)
        drawn += [(image, place[one["category_id"]]) for one in marked or ()]
        finds += [
            (image, one["category_index"], one["score"], _place(one.get("own"), first), _place(one.get("any"), first))
            for one in found or ()
        ]
    marks = np.array(drawn, dtype=np.int64).reshape(-1, 2)
    columns = np.array(finds, dtype=np.float64).reshape(-1, 5)
    found_on, label, own, other = (columns[:, index].astype(np.int64) for index in (0, 1, 3, 4))
    return ShapeSplit(
        np.array([row[0] for row in rows], dtype=np.int64),
        FoundShapes(len(rows), n_classes, marks[:, 0], marks[:, 1], found_on, label, columns[:, 2], own, other),
        np.array([_key(row[3] or ()) for row in rows], dtype=np.int64),
    )


def _key(drawn: Sequence[Mapping[str, Any]]) -> int:
    return zlib.crc32(orjson.dumps(list(drawn), option=orjson.OPT_SORT_KEYS))


def _place(within: int | None, first: int) -> int:
    return -1 if within is None else first + within
