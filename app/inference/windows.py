"""Where the network looks on a picture: the whole of it, or overlapping windows, and where each lies in its input."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from app.contracts.bundle import Preprocessing, Tiling
from app.inference.preprocess import letterbox_box


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in whole pixels; the last ones of a row or column reach to the picture's edge."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, image: Image.Image) -> Image.Image:
        if (self.left, self.top, self.width, self.height) == (0, 0, *image.size):
            return image
        return image.crop((self.left, self.top, self.left + self.width, self.top + self.height))


def windows_of(width_px: int, height_px: int, tiling: Tiling | None) -> list[Window]:
    """Return the windows of a picture: the whole of it, or tiles that overlap by at least what the tiling says."""
    if tiling is None or max(width_px, height_px) <= tiling.side_px:
        return [Window(0, 0, width_px, height_px)]
    return [
        Window(left, top, min(tiling.side_px, width_px), min(tiling.side_px, height_px))
        for top in _starts(height_px, tiling)
        for left in _starts(width_px, tiling)
    ]


def _starts(length_px: int, tiling: Tiling) -> list[int]:
    """Return where tiles begin along one side, spread evenly so that none is mostly a repetition of another."""
    rest = length_px - tiling.side_px
    if rest <= 0:
        return [0]
    n_steps = -(-rest // max(1, tiling.side_px - tiling.overlap_px))
    return [round(rest * step / n_steps) for step in range(n_steps + 1)]


@dataclass(frozen=True)
class Frame:
    """Where a window lies in the network's input: input = original * scale + offset, for x and y."""

    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_input(self, boxes: np.ndarray) -> np.ndarray:
        return (boxes * np.array(self.scale * 2) + np.array(self.offset * 2)).astype(np.float32)

    def to_original(self, boxes: np.ndarray) -> np.ndarray:
        return (boxes.astype(np.float64) - np.array(self.offset * 2)) / np.array(self.scale * 2)


def frame_of(width_px: int, height_px: int, preprocessing: Preprocessing) -> Frame:
    """Return where a picture of a size lies in the network's input."""
    if preprocessing.resize == "stretch":
        return Frame((preprocessing.width_px / width_px, preprocessing.height_px / height_px), (0.0, 0.0))
    left, top, width, height = letterbox_box(width_px, height_px, preprocessing)
    return Frame((width / width_px, height / height_px), (left, top))
