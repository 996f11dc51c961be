"""What a window looks like, place by place: frozen maps of a backbone, and its plain brightness.

P is the number of places (a grid at a quarter of the side at which a window is looked at), D the number of channels.
"""

import threading
from functools import lru_cache
from pathlib import Path

import numpy as np

from app.annotations.magic.windows import SIDE_PX
from app.catalog import BACKBONES, BackboneCard
from app.catalog.backbones import AUTO_BACKBONES
from app.catalog.exports import find_graph, map_name
from app.contracts.bundle import Preprocessing
from app.inference.sessions.openvino import CompiledPart, image_part, supported_precision

GRID = SIDE_PX // 4
_COARSEST_STRIDE = 8  # coarser maps tell what a thing is, and no longer where: measured, they make outlines worse
_BLURS = (0.0, 2.0, 6.0)  # px of the window; the only channels where no backbone is ready

_opening = threading.Lock()


def find_ready_backbone(cache_dir: Path) -> tuple[BackboneCard, Path] | None:
    """Return a backbone whose exported graph is there, the quickest first, or None."""
    for name in (*AUTO_BACKBONES, *(card.id for card in BACKBONES.values() if card.is_for_tests)):
        path = find_graph(BACKBONES[name], cache_dir=cache_dir)
        if path is not None:
            return BACKBONES[name], path
    return None


class Extractor:
    """Channels of a window, by a backbone's graph where there is one; safe to use from several threads."""

    def __init__(self, backbone: tuple[BackboneCard, Path] | None) -> None:
        self._part = _compiled(*backbone) if backbone else None

    @property
    def has_features(self) -> bool:
        return self._part is not None

    def channels(self, pixels: np.ndarray) -> np.ndarray:
        """Return the channels (rows, columns, D) float32 of a window's pixels (H, W, 3) uint8, RGB."""
        import cv2

        height, width = pixels.shape[:2]
        scale = SIDE_PX / max(height, width)
        size = max(round(width * scale), 4), max(round(height * scale), 4)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        shown = cv2.resize(pixels, size, interpolation=how)
        columns, rows = -(-size[0] // 4), -(-size[1] // 4)
        grey = shown.astype(np.float32).mean(axis=2)
        found = [cv2.GaussianBlur(grey, (0, 0), blur) if blur else grey for blur in _BLURS]
        found = [cv2.resize(one, (columns, rows), interpolation=cv2.INTER_AREA)[..., None] for one in found]
        if self._part is not None:
            missing = SIDE_PX - size[1], SIDE_PX - size[0]
            square = cv2.copyMakeBorder(shown, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
            for one in self._part.all(square[None]):
                laid = np.ascontiguousarray(one[0].astype(np.float32).transpose(1, 2, 0))
                how = cv2.INTER_AREA if laid.shape[0] > GRID else cv2.INTER_LINEAR
                found.append(cv2.resize(laid, (GRID, GRID), interpolation=how)[:rows, :columns])
        return np.concatenate(found, axis=2)


@lru_cache(maxsize=1)
def _compiled(card: BackboneCard, path: Path) -> CompiledPart:
    preprocessing = Preprocessing(
        width_px=SIDE_PX, height_px=SIDE_PX, resize="letterbox", resample="bilinear", mean=card.mean, std=card.std
    )
    last = {one.stride: index for index, one in enumerate(card.maps) if one.stride <= _COARSEST_STRIDE}
    names = [map_name(index) for index in last.values()]
    with _opening:
        return image_part(path, names, preprocessing, precision=supported_precision("bf16"), n_streams=1)
