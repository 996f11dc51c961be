"""Changing pictures together with what is marked on them. H and W are the sides of a picture in pixels."""

import numpy as np
from PIL import Image

from app.inference.augmentation import PictureChanges, way_back
from worker.ml.data.crops import Marked

_MIN_SIDE_PX = 3.0


class Augmentation(PictureChanges):
    """See `PictureChanges`: the same for pictures with boxes, and with a class for each pixel."""

    def apply(self, pixels: np.ndarray, marked: Marked, generator: np.random.Generator) -> tuple[np.ndarray, Marked]:
        """Return a changed picture (H, W, 3) uint8 and its boxes, cut at the border."""
        height, width = pixels.shape[:2]
        matrix = self.matrix((width, height), (width, height), generator)
        boxes = _moved(marked.boxes, matrix)
        changed = Marked(boxes, marked.labels).inside(width, height, min_side_px=_MIN_SIDE_PX)
        return self.redrawn(pixels, matrix, (width, height), generator), changed

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
        matrix = self.matrix(source, size, generator, centre)
        moved = Image.fromarray(np.ascontiguousarray(classes)).transform(
            size, Image.Transform.AFFINE, way_back(matrix), resample=Image.Resampling.NEAREST, fillcolor=0
        )
        return self.redrawn(pixels, matrix, size, generator), np.asarray(moved)


def _moved(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    first = boxes[:, :2] @ matrix[:2, :2].T + matrix[:2, 2]
    second = boxes[:, 2:] @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1).astype(np.float32)
