"""Changing pictures, and what is marked on them, in ways that leave a defect the same defect.

H and W are the sides of a picture in pixels. Source: scale and position jitter as in Redmon and Farhadi, CVPR 2017,
arXiv:1612.08242, section 2; the amounts are ours, small because parts lie still before their camera.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from worker.ml.data.crops import Marked

_MIN_SIDE_PX = 3.0


@dataclass(frozen=True)
class Augmentation:
    """How much to change. Scales are factors (1.25: up to 25 % larger or smaller), shifts are shares of the side.

    With `is_compared`, the last channel says how far a picture differs from its reference: zero stays zero.
    """

    flip_x: bool = True
    flip_y: bool = True
    quarter_turns: bool = False
    zoom: float = 1.25
    stretch: float = 1.1
    shift: float = 0.12
    turn_deg: float = 0.0
    brightness: float = 0.15
    contrast: float = 0.25
    noise: float = 4.0
    pad_value: int = 128
    is_compared: bool = False

    def apply(self, pixels: np.ndarray, marked: Marked, generator: np.random.Generator) -> tuple[np.ndarray, Marked]:
        """Return a changed picture (H, W, 3) uint8 and its boxes, cut at the border."""
        height, width = pixels.shape[:2]
        matrix = self._matrix((width, height), (width, height), generator)
        boxes = _moved(marked.boxes, matrix)
        changed = Marked(boxes, marked.labels).inside(width, height, min_side_px=_MIN_SIDE_PX)
        return self._relit(self._picture(pixels, matrix, (width, height)), generator), changed

    def apply_to_classes(
        self,
        pixels: np.ndarray,
        classes: np.ndarray,
        generator: np.random.Generator,
        *,
        side_px: int,
        centre: tuple[float, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a changed cut-out (`side_px`, `side_px`, 3) uint8 of a picture, and the class of each of its pixels.

        Args:
            pixels: (H, W, 3) uint8.
            classes: (H, W) uint8; 0, background, is what lies outside.
            generator: All chance comes from it.
            side_px: Of the cut-out.
            centre: A place (x, y) of the picture that will lie near the middle; the picture's own middle where None.
        """
        size, source = (side_px, side_px), (pixels.shape[1], pixels.shape[0])
        matrix = self._matrix(source, size, generator, centre)
        moved = Image.fromarray(np.ascontiguousarray(classes)).transform(
            size, Image.Transform.AFFINE, _back(matrix), resample=Image.Resampling.NEAREST, fillcolor=0
        )
        return self._relit(self._picture(pixels, matrix, size), generator), np.asarray(moved)

    def _picture(self, pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        moved = Image.fromarray(np.ascontiguousarray(pixels)).transform(
            size,
            Image.Transform.AFFINE,
            _back(matrix),
            resample=Image.Resampling.BILINEAR,
            fillcolor=(self.pad_value, self.pad_value, 0 if self.is_compared else self.pad_value),
        )
        return np.asarray(moved)

    def _matrix(
        self,
        source: tuple[int, int],
        target: tuple[int, int],
        generator: np.random.Generator,
        centre: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """Return the 3 x 3 matrix from source to result, both in pixels and given as width, height."""
        turned, mirror_x, mirror_y = generator.random(3) < 0.5
        zoom = self.zoom ** generator.uniform(-1.0, 1.0)
        stretch = self.stretch ** generator.uniform(-0.5, 0.5)
        scale = np.diag([zoom * stretch, zoom / stretch])
        if self.flip_x and mirror_x:
            scale[0] *= -1
        if self.flip_y and mirror_y:
            scale[1] *= -1
        if self.quarter_turns and turned and target[0] == target[1]:
            scale = scale @ np.array([[0.0, 1.0], [1.0, 0.0]])
        shift = generator.uniform(-self.shift, self.shift, 2) * target
        if self.turn_deg:
            angle = np.deg2rad(generator.uniform(-self.turn_deg, self.turn_deg))
            scale = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ scale
        matrix = np.eye(3)
        matrix[:2, :2] = scale
        middle = np.array(centre) if centre is not None else np.array(source) / 2
        matrix[:2, 2] = np.array(target) / 2 + shift - scale @ middle
        return matrix

    def _relit(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        brightness = generator.uniform(-self.brightness, self.brightness) * 255.0
        contrast = (1.0 + self.contrast) ** generator.uniform(-1.0, 1.0)
        changed = (pixels.astype(np.float32) - 127.5) * np.float32(contrast) + np.float32(127.5 + brightness)
        grains = np.zeros((1, 1), dtype=np.float32)
        if self.noise > 0:
            # The same on all channels: cameras of lines are mostly grey. A reference is another picture.
            amount = generator.uniform(0.0, self.noise)
            grains = amount * generator.standard_normal(pixels.shape[:2], dtype=np.float32)
            changed[..., : 1 if self.is_compared else 3] += grains[..., None]
        if self.is_compared:
            changed[..., 2] = np.abs(pixels[..., 2] * np.float32(contrast) + grains)
        return np.asarray(np.clip(changed, 0, 255), dtype=np.uint8)


def _back(matrix: np.ndarray) -> tuple[float, ...]:
    """Return the way back, from a pixel of the result to one of the source, as Pillow wants it."""
    return tuple(np.linalg.inv(matrix)[:2].ravel().tolist())


def _moved(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    first = boxes[:, :2] @ matrix[:2, :2].T + matrix[:2, 2]
    second = boxes[:, 2:] @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1).astype(np.float32)
