"""Frozen maps of whole images, kept on disk: what strokes are learned from, and what is marked, without a network.

Each level is a map of the backbone, finest first: C channels at h x w places. The finest place is `PLACE_PX` of the
network's input wide; a map finer than that is averaged to it.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.catalog import BACKBONES, BackboneCard
from app.catalog.backbones import AUTO_BACKBONES
from app.catalog.exports import EXPORT_VERSION, map_name
from app.contracts.bundle import Precision, Preprocessing
from app.contracts.dataset import DatasetItem
from app.inference.preprocess import to_pixels
from app.inference.sessions.openvino import CompiledPart, image_part, n_cpus, supported_precision
from worker.ml.backbones.export import exported
from worker.ml.data.extraction import OpenImage
from worker.ml.prompting.kept import folder_of

PLACE_PX = 4
_STEP_PX = 32
_MIN_PX, _MAX_PX = 256, 512

Levels = list[np.ndarray]
"""Maps (C, h, w) float32 of one image, finest first."""


def levels_of(card: BackboneCard) -> tuple[int, ...]:
    """Return the last map of each stride: what places are described by, from texture to what a thing is."""
    return tuple({one.stride: index for index, one in enumerate(card.maps)}.values())


def default_backbone() -> BackboneCard:
    return BACKBONES[AUTO_BACKBONES[0]]


def plan(items: Sequence[DatasetItem], card: BackboneCard) -> Preprocessing:
    """Return how images are read: whole, in a square as large as half of them are long, within bounds of time."""
    longest = float(np.median([max(item.width_px, item.height_px) for item in items]))
    side = int(np.clip(round(longest / _STEP_PX) * _STEP_PX, _MIN_PX, _MAX_PX))
    return Preprocessing(
        width_px=side, height_px=side, resize="letterbox", resample=card.resample, mean=card.mean, std=card.std
    )


@dataclass(frozen=True)
class _Shape:
    """C, h and w of one level as it is kept."""

    channels: int
    side: int

    @property
    def size(self) -> int:
        return self.channels * self.side * self.side


class PixelMaps:
    """Maps of images at one size, from the disk or, where they are not there, from the network.

    Args:
        card: The backbone.
        preprocessing: As `plan` returns it.
        cache_dir: Where graphs and maps are kept.
        open_image: Gives the file of an image.
        precision: Wanted arithmetic.
    """

    def __init__(
        self,
        card: BackboneCard,
        preprocessing: Preprocessing,
        *,
        cache_dir: Path,
        open_image: OpenImage,
        precision: Precision = "bf16",
    ) -> None:
        self.card, self.preprocessing = card, preprocessing
        self._cache_dir, self._open_image = cache_dir, open_image
        self._precision: Precision = supported_precision(precision)
        self._part: CompiledPart | None = None
        strides = [card.maps[index].stride for index in levels_of(card)]
        side = preprocessing.width_px
        self.pools = [max(1, PLACE_PX // stride) for stride in strides]
        self._shapes = [
            _Shape(card.maps[index].channels, side // max(PLACE_PX, stride))
            for index, stride in zip(levels_of(card), strides, strict=True)
        ]
        facts = (card.id, card.weights_sha256, EXPORT_VERSION, preprocessing.model_dump_json(), self._precision)
        self.folder = folder_of(cache_dir) / hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    @property
    def channels(self) -> list[int]:
        """How many channels each level has."""
        return [shape.channels for shape in self._shapes]

    @property
    def grid(self) -> int:
        """Places along a side of the finest level."""
        return self.preprocessing.width_px // PLACE_PX

    def make(
        self, items: Sequence[DatasetItem], *, on_image: Callable[[int, int], None] = lambda _done, _total: None
    ) -> dict[int, str]:
        """See to it that the maps of images are there; return why some cannot be had, by image id."""
        missing = [item for item in items if not self._path(item).exists()]
        if not missing:
            return {}
        self._open_network()
        unreadable: dict[int, str] = {}
        with ThreadPoolExecutor(n_cpus()) as pool:
            try:
                for n_done, (item, problem) in enumerate(
                    zip(missing, pool.map(self._made, missing), strict=True), start=1
                ):
                    if problem is not None:
                        unreadable[item.image_id] = problem
                    on_image(n_done, len(missing))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return unreadable

    def read(self, item: DatasetItem) -> Levels:
        """Return the maps of an image that `make` has made. Raises `OSError` where they are gone."""
        flat = np.load(self._path(item))
        ends = np.cumsum([shape.size for shape in self._shapes])[:-1]
        parts = np.split(flat, ends)
        return [
            part.astype(np.float32).reshape(shape.channels, shape.side, shape.side)
            for part, shape in zip(parts, self._shapes, strict=True)
        ]

    def _open_network(self) -> None:
        if self._part is not None:
            return
        graph = exported(self.card, image_size_px=self.card.input_px, cache_dir=self._cache_dir)
        names = [map_name(index) for index in levels_of(self.card)]
        self._part = image_part(graph.path, names, self.preprocessing, precision=self._precision)

    def _made(self, item: DatasetItem) -> str | None:
        assert self._part is not None
        try:
            pixels = to_pixels(self._open_image(item), self.preprocessing)
        except Exception as error:  # noqa: BLE001 - one bad image, however bad, must not end the run
            return str(error) or type(error).__name__
        found = self._part.all(pixels[None])
        flat = [_averaged(one[0], pool).ravel() for one, pool in zip(found, self.pools, strict=True)]
        _keep(self._path(item), np.concatenate(flat).astype(np.float16))
        return None

    def _path(self, item: DatasetItem) -> Path:
        return self.folder / item.sha256[:2] / f"{item.sha256}.npy"


def _averaged(values: np.ndarray, pool: int) -> np.ndarray:
    if pool == 1:
        return values
    channels, rows, columns = values.shape
    return values.reshape(channels, rows // pool, pool, columns // pool, pool).mean(axis=(2, 4))


def _keep(path: Path, values: np.ndarray) -> None:
    """Write a file that is whole from the moment it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, values)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
