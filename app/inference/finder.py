"""A detector's bundle, compiled and ready to find. See `app.inference.detection` for what happens to its answers."""

import numpy as np
from PIL import Image

from app.contracts.bundle import Precision
from app.contracts.predictions import PredictedShape
from app.inference.bundle import Bundle
from app.inference.detection import find
from app.inference.loaded import ShapeModel


class Finder(ShapeModel):
    """Finds defects on pictures, on OpenVINO. May be used from many threads at once."""

    def __init__(self, bundle: Bundle, *, precision: Precision | None = None, n_streams: int | None = None) -> None:
        names = bundle.manifest.boxes_name, bundle.manifest.scores_name
        if names[0] is None:
            raise LookupError("this bundle has no boxes output")
        super().__init__(bundle, [names[0], names[1]], precision=precision, n_streams=n_streams)

    def raw(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (N, A, 4) in input pixels and scores (N, A, K) of pictures (N, H, W, 3) uint8."""
        boxes, scores = self._part.all(pixels)
        return boxes, scores

    def _find(self, image: Image.Image) -> tuple[PredictedShape, ...]:
        return find(image, self.manifest, self.raw)


def open_finder(bundle: Bundle, _runtime: str) -> Finder:
    """Open a detector. It runs on OpenVINO alone."""
    return Finder(bundle)
