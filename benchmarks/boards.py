"""Drawn boards: pictures of parts whose defects only show next to a reference. For a benchmark without data, and tests.

A board is a ground with square pads. A defective one has a pad that its reference lacks, or lacks one that it has; by
itself, neither is anything but a pad or bare ground. Pictures are shifted, turned, lit and noisy; references are not.
"""

from dataclasses import dataclass

import cv2
import numpy as np

EXTRA, MISSING = 0, 1
CLASSES = ("extra", "missing")
_GROUND, _PAD = 80.0, 185.0
_GAIN, _OFFSET, _NOISE = 0.08, 8.0, 3.0


@dataclass(frozen=True)
class Pair:
    """A picture and its reference, (H, W) uint8, and its defects: class index and xyxy in pixels of the picture."""

    picture: np.ndarray
    reference: np.ndarray
    defects: tuple[tuple[int, tuple[float, float, float, float]], ...]


def layout(generator: np.random.Generator, *, cells: int) -> np.ndarray:
    """Return where a board has pads, (cells, cells) bool: about every other place."""
    return np.asarray(generator.random((cells, cells)) < 0.5)


def draw_pair(
    generator: np.random.Generator,
    pads: np.ndarray,
    *,
    n_defects: int,
    side_px: int = 64,
    max_shift_px: float = 2.0,
    max_turn_deg: float = 0.5,
) -> Pair:
    """Return a picture of a board with some defects, and the reference of the board."""
    shift, turn = generator.uniform(-max_shift_px, max_shift_px, 2), generator.uniform(-max_turn_deg, max_turn_deg)
    matrix = cv2.getRotationMatrix2D((side_px / 2, side_px / 2), float(turn), 1.0)
    matrix[:, 2] += shift
    found = pads.copy()
    defects = []
    # Not at the rim, where a shift may take them out of the picture.
    inner = [(row, column) for row in range(1, len(pads) - 1) for column in range(1, len(pads) - 1)]
    for place in generator.permutation(len(inner))[:n_defects]:
        row, column = inner[place]
        found[row, column] = not pads[row, column]
        box = _moved(_pad_box(row, column, len(pads), side_px), matrix, side_px)
        defects.append((MISSING if pads[row, column] else EXTRA, box))
    drawn = cv2.warpAffine(_board(found, side_px), matrix, (side_px, side_px), borderValue=_GROUND)
    lit = drawn * (1 + generator.uniform(-_GAIN, _GAIN)) + generator.uniform(-_OFFSET, _OFFSET)
    noisy = lit + generator.normal(0, _NOISE, lit.shape)
    return Pair(_bytes(noisy), _bytes(_board(pads, side_px)), tuple(defects))


def _board(pads: np.ndarray, side_px: int) -> np.ndarray:
    canvas = np.full((side_px, side_px), _GROUND, dtype=np.float32)
    for row, column in zip(*np.nonzero(pads), strict=True):
        left, top, right, bottom = _pad_box(int(row), int(column), len(pads), side_px)
        canvas[top:bottom, left:right] = _PAD
    return np.asarray(cv2.GaussianBlur(canvas, (3, 3), 0))


def _pad_box(row: int, column: int, cells: int, side_px: int) -> tuple[int, int, int, int]:
    step = side_px / cells
    left, top = round((column + 0.2) * step), round((row + 0.2) * step)
    return left, top, left + round(0.6 * step), top + round(0.6 * step)


def _moved(box: tuple[int, int, int, int], matrix: np.ndarray, side_px: int) -> tuple[float, float, float, float]:
    corners = np.array([[x, y, 1] for x in box[::2] for y in box[1::2]], dtype=np.float64) @ matrix.T
    (xmin, ymin), (xmax, ymax) = np.clip(corners.min(axis=0), 0, side_px), np.clip(corners.max(axis=0), 0, side_px)
    return float(xmin), float(ymin), float(xmax), float(ymax)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.round(values), 0, 255), dtype=np.uint8)
