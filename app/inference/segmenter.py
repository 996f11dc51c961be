"""A segmenter's bundle, compiled and ready. See `app.inference.segmentation` for what happens to its answers."""

import numpy as np
from PIL import Image

from app.contracts.bundle import Precision
from app.contracts.predictions import PredictedShape
from app.inference.bundle import Bundle
from app.inference.loaded import ShapeModel
from app.inference.preprocess import Picture, open_picture
from app.inference.segmentation import ScoreGrid, score_grid, segment
from app.inference.sessions.openvino import engine_version, image_part, n_cpus, supported_precision


class Segmenter(ShapeModel):
    """Finds the pixels of defects on pictures, on OpenVINO. May be used from many threads at once."""

    def __init__(self, bundle: Bundle, *, precision: Precision | None = None, n_streams: int | None = None) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.precision: Precision = supported_precision(precision or manifest.precision)
        self.n_parallel = n_streams or n_cpus()
        self._part = image_part(
            bundle.model_path,
            manifest.scores_name,
            manifest.preprocessing,
            precision=self.precision,
            n_streams=self.n_parallel,
        )

    @property
    def engine(self) -> str:
        return f"openvino {engine_version()} CPU {self.precision}"

    def raw(self, pixels: np.ndarray) -> np.ndarray:
        """Return scores (N, K + 1, H', W') of pictures (N, H, W, 3) uint8."""
        return self._part(pixels)

    def grid(self, picture: Picture) -> ScoreGrid:
        """Return the scores of every place of a picture."""
        return score_grid(open_picture(picture), self.manifest, self.raw)

    def _find(self, image: Image.Image) -> tuple[PredictedShape, ...]:
        return segment(image, self.manifest, self.raw)


def open_segmenter(bundle: Bundle, _runtime: str) -> Segmenter:
    """Open a segmenter. It runs on OpenVINO alone."""
    return Segmenter(bundle)
