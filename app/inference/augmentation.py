"""Changing pictures in ways that leave a defect the same defect: what a training does, and what its form shows.

H and W are the sides of a picture in pixels. Source: scale and position jitter as in Redmon and Farhadi, CVPR 2017,
arXiv:1612.08242, section 2; the amounts are ours, small because parts lie still before their camera.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image, ImageFilter

from app.catalog.symmetries import SYMMETRIES
from app.contracts.jobs import Augmentations

_STRETCH = 0.4  # of the zoom: lenses and belts change one side against the other less than both together


@dataclass(frozen=True)
class PictureChanges:
    """How much to change, and which flips and turns leave a part the same part.

    With `is_compared`, the last channel says how far a picture differs from its reference: zero stays zero.
    """

    amounts: Augmentations
    flip_x: bool = True
    flip_y: bool = True
    quarter_turns: bool = False
    pad_value: int = 128
    is_compared: bool = False

    @classmethod
    def of(cls, amounts: Augmentations, symmetry: str, *, pad_value: int = 128, is_compared: bool = False) -> Self:
        """Return the changes for a symmetry of the catalog, or for `auto`: both flips, no turns."""
        if symmetry == "auto":
            return cls(amounts, pad_value=pad_value, is_compared=is_compared)
        views = SYMMETRIES[symmetry].views
        return cls(
            amounts,
            flip_x=any(view.index in {4, 5, 7} for view in views),
            flip_y=any(view.index in {2, 5, 6, 7} for view in views),
            quarter_turns=any(view.quarter_turns % 2 for view in views),
            pad_value=pad_value,
            is_compared=is_compared,
        )

    def change(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return a changed picture of the same size, (H, W, 3) uint8; all chance comes from the generator."""
        size = (pixels.shape[1], pixels.shape[0])
        return self.redrawn(pixels, self.matrix(size, size, generator), size, generator)

    def matrix(
        self,
        source: tuple[int, int],
        target: tuple[int, int],
        generator: np.random.Generator,
        centre: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """Return the 3 x 3 matrix from source to result, both in pixels and given as width, height.

        `centre`, a place (x, y) of the source, comes to lie near the middle; the source's own middle where None.
        """
        amounts = self.amounts
        turned, mirror_x, mirror_y = generator.random(3) < 0.5
        zoom = (1.0 + amounts.zoom) ** generator.uniform(-1.0, 1.0)
        stretch = (1.0 + _STRETCH * amounts.zoom) ** generator.uniform(-0.5, 0.5)
        scale = np.diag([zoom * stretch, zoom / stretch])
        if self.flip_x and mirror_x:
            scale[0] *= -1
        if self.flip_y and mirror_y:
            scale[1] *= -1
        if self.quarter_turns and turned and target[0] == target[1]:
            scale = scale @ np.array([[0.0, 1.0], [1.0, 0.0]])
        shift = generator.uniform(-amounts.shift, amounts.shift, 2) * target
        if amounts.rotation_deg:
            angle = np.deg2rad(generator.uniform(-amounts.rotation_deg, amounts.rotation_deg))
            scale = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ scale
        matrix = np.eye(3)
        matrix[:2, :2] = scale
        middle = np.array(centre) if centre is not None else np.array(source) / 2
        matrix[:2, 2] = np.array(target) / 2 + shift - scale @ middle
        return matrix

    def redrawn(
        self, pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int], generator: np.random.Generator
    ) -> np.ndarray:
        """Return a picture moved by `matrix` onto one of `size` (width, height), in another light."""
        moved = Image.fromarray(np.ascontiguousarray(pixels)).transform(
            size,
            Image.Transform.AFFINE,
            way_back(matrix),
            resample=Image.Resampling.BILINEAR,
            fillcolor=(self.pad_value, self.pad_value, 0 if self.is_compared else self.pad_value),
        )
        return self._relit(self._blurred(moved, generator), generator)

    def _blurred(self, picture: Image.Image, generator: np.random.Generator) -> np.ndarray:
        sharp = np.asarray(picture)
        if not self.amounts.blur_px:
            return sharp
        radius = generator.uniform(0.0, self.amounts.blur_px)
        blurred = np.array(picture.filter(ImageFilter.GaussianBlur(radius)))
        if self.is_compared:
            blurred[..., 1] = sharp[..., 1]  # the reference was taken on another day
        return blurred

    def _relit(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        amounts = self.amounts
        brightness = generator.uniform(-amounts.brightness, amounts.brightness) * 255.0
        contrast = (1.0 + amounts.contrast) ** generator.uniform(-1.0, 1.0)
        changed = (pixels.astype(np.float32) - 127.5) * np.float32(contrast) + np.float32(127.5 + brightness)
        grains = np.zeros((1, 1), dtype=np.float32)
        if amounts.noise > 0:
            # The same on all channels: cameras of lines are mostly grey. A reference is another picture.
            amount = generator.uniform(0.0, amounts.noise)
            grains = amount * generator.standard_normal(pixels.shape[:2], dtype=np.float32)
            changed[..., : 1 if self.is_compared else 3] += grains[..., None]
        if self.is_compared:
            changed[..., 2] = np.abs(pixels[..., 2] * np.float32(contrast) + grains)
        return np.asarray(np.clip(changed, 0, 255), dtype=np.uint8)


def way_back(matrix: np.ndarray) -> tuple[float, ...]:
    """Return the way back, from a pixel of the result to one of the source, as Pillow wants it."""
    return tuple(np.linalg.inv(matrix)[:2].ravel().tolist())
