"""Where a model sees a defect, as a picture to lay over the image."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from app.contracts.bundle import BundleManifest
from app.core.errors import NotFound, Unavailable
from app.inference.decision import good_index_of
from app.serving.predictor import open_model
from app.settings import get_settings
from app.storage import keys
from app.storage.current import blobs
from app.storage.errors import BlobMissing

# Inferno at eighths: brighter always means more, also in grey and to colour-blind eyes.
# Source: S. van der Walt and N. Smith, colour maps of matplotlib 2.0, 2015 (CC0).
_INFERNO = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (87, 16, 110),
        (138, 34, 106),
        (188, 55, 84),
        (227, 89, 51),
        (249, 142, 9),
        (249, 201, 50),
        (252, 255, 164),
    ],
    dtype=np.float64,
)
_LONG_SIDE_PX = 384
_MAX_ALPHA = 0.68
_FLOOR = 0.25  # of the strongest place; below it the image stays as it is


class NoHeatMap(NotFound):
    """The model gives no class activation, or nothing was ever said of this image."""

    code, title = "no_heat_map", "No heat map"


@dataclass(frozen=True, slots=True)
class HeatSource:
    """What a heat map is made from, read before the work starts so that no database connection waits for it."""

    project_id: int
    model_id: UUID
    bundle_key: str
    manifest: BundleManifest
    sha256: str
    blob_key: str
    width_px: int
    height_px: int
    scores: list[float]


class _Gate:
    """Lets a few in, keeps a few waiting, and sends the rest away."""

    def __init__(self, *, n_running: int, n_waiting: int, patience_s: float) -> None:
        self._slots = threading.BoundedSemaphore(n_running)
        self._places = threading.BoundedSemaphore(n_running + n_waiting)
        self._patience_s = patience_s

    @contextmanager
    def passed(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Unavailable("Many heat maps are being made. Try again in a moment.", retry_after_s=2)
        try:
            if not self._slots.acquire(timeout=self._patience_s):
                raise Unavailable("Heat maps take long right now. Try again in a moment.", retry_after_s=5)
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._places.release()


_gate = _Gate(n_running=2, n_waiting=24, patience_s=20.0)


def heat_png(source: HeatSource) -> bytes:
    """Return the heat map of an image as a PNG with transparency, of the image's shape, made once and kept.

    It shows the class that `explained_class` names. Colours are relative to the strongest place of this image; where
    nothing speaks for the class, the picture is empty.

    Raises:
        NoHeatMap: The model gives no class activation.
        BlobMissing: The image's file is gone.
        Unavailable: More is asked for than this machine can make now.
    """
    key = keys.heat_map(source.project_id, source.model_id, source.sha256)
    try:
        return blobs().read(key)
    except BlobMissing:
        pass
    if source.manifest.heat_name is None:
        raise NoHeatMap("This model does not say where it looks.")
    with _gate.passed():
        content = _paint(source)
    blobs().put(key, content)
    return content


def explained_class(manifest: BundleManifest, scores: list[float]) -> int:
    """Return the class whose evidence is shown: the likeliest defect where a good class exists, else the likeliest.

    It does not depend on a threshold: on a missed part one wants to see the defect that nearly was found.
    """
    good = good_index_of(manifest)
    candidates = [index for index in range(len(scores)) if index != good]
    return max(candidates, key=lambda index: scores[index])


def _paint(source: HeatSource) -> bytes:
    picture = blobs().local_path(source.blob_key)
    heat = open_model(source.bundle_key).explain(
        picture,
        category_index=explained_class(source.manifest, source.scores),
        max_pixels=get_settings().max_image_megapixels * 1_000_000,
    )
    scale = _LONG_SIDE_PX / max(source.width_px, source.height_px)
    size = (max(1, round(source.width_px * scale)), max(1, round(source.height_px * scale)))
    return painted(heat.values, size)


def painted(values: NDArray[np.float32], size_px: tuple[int, int]) -> bytes:
    """Return class activation (H', W') as a transparent PNG of `size_px` (width, height), to lay over an image."""
    out, (palette, alpha) = io.BytesIO(), _colours()
    picture = Pillow.fromarray(levels(values, size_px))
    picture.putpalette(palette)  # 256 colours, each with its alpha: a tenth of the bytes and of the time of RGBA
    picture.save(out, "PNG", transparency=alpha)
    return out.getvalue()


def levels(values: NDArray[np.float32], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Return class activation (H', W') as levels (H, W) of `size_px` (width, height).

    0 where nothing speaks for the class, 255 at the strongest place of the image.
    """
    strongest = float(values.max(initial=0.0))
    if strongest <= 0:
        return np.zeros((size_px[1], size_px[0]), dtype=np.uint8)
    smooth = Pillow.fromarray(values.astype(np.float32) / strongest).resize(size_px, Pillow.Resampling.BICUBIC)
    return (255 * np.clip(np.asarray(smooth), 0.0, 1.0)).round().astype(np.uint8)


@lru_cache
def _colours() -> tuple[bytes, bytes]:
    """Return the palette (256 times RGB) and the alpha of each of its entries."""
    share = np.linspace(0.0, 1.0, 256)
    places = np.linspace(0.0, 1.0, len(_INFERNO))
    colour = np.stack([np.interp(share, places, _INFERNO[:, channel]) for channel in range(3)], axis=-1)
    alpha = 255 * _MAX_ALPHA * np.clip((share - _FLOOR) / (1 - _FLOOR), 0.0, 1.0) ** 0.7
    return colour.round().astype(np.uint8).tobytes(), alpha.round().astype(np.uint8).tobytes()
