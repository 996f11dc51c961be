"""A segmenter's bundle, compiled and ready. See `app.inference.segmentation` for what happens to its answers."""

import numpy as np
from PIL import Image

from app.contracts.bundle import Precision
from app.contracts.predictions import PredictedShape
from app.inference.bundle import Bundle
from app.inference.loaded import ShapeModel
from app.inference.preprocess import Picture
from app.inference.segmentation import ScoreGrid, score_grid, segment


class Segmenter(ShapeModel):
    """Finds the pixels of defects on pictures, on OpenVINO. May be used from many threads at once."""

    def __init__(self, bundle: Bundle, *, precision: Precision | None = None, n_streams: int | None = None) -> None:
        super().__init__(bundle, [bundle.manifest.scores_name], precision=precision, n_streams=n_streams)

    def raw(self, pixels: np.ndarray) -> np.ndarray:
        """Return scores (N, K + 1, H', W') of pictures (N, H, W, 3) uint8."""
        return self._part(pixels)

    def grid(self, picture: Picture) -> ScoreGrid:
        """Return the scores of every place of a picture."""
        return score_grid(self.opened(picture), self.manifest, self.raw)

    def _find(self, image: Image.Image) -> tuple[PredictedShape, ...]:
        return segment(image, self.manifest, self.raw)


def open_segmenter(bundle: Bundle, _runtime: str) -> Segmenter:
    """Open a segmenter. It runs on OpenVINO alone."""
    return Segmenter(bundle)
