"""A detector's bundle, compiled and ready to find. See `app.inference.detection` for what happens to its answers."""

import numpy as np
from PIL import Image

from app.contracts.bundle import Precision
from app.contracts.predictions import PredictedShape
from app.inference.bundle import Bundle
from app.inference.detection import find
from app.inference.loaded import ShapeModel
from app.inference.sessions.openvino import engine_version, image_part, n_cpus, supported_precision


class Finder(ShapeModel):
    """Finds defects on pictures, on OpenVINO. May be used from many threads at once."""

    def __init__(self, bundle: Bundle, *, precision: Precision | None = None, n_streams: int | None = None) -> None:
        manifest = bundle.manifest
        if manifest.boxes_name is None:
            raise LookupError("this bundle has no boxes output")
        self.bundle = bundle
        self.precision: Precision = supported_precision(precision or manifest.precision)
        self.n_parallel = n_streams or n_cpus()
        self._part = image_part(
            bundle.model_path,
            (manifest.boxes_name, manifest.scores_name),
            manifest.preprocessing,
            precision=self.precision,
            n_streams=self.n_parallel,
        )

    @property
    def engine(self) -> str:
        return f"openvino {engine_version()} CPU {self.precision}"

    def raw(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (N, A, 4) in input pixels and scores (N, A, K) of pictures (N, H, W, 3) uint8."""
        boxes, scores = self._part.all(pixels)
        return boxes, scores

    def _find(self, image: Image.Image) -> tuple[PredictedShape, ...]:
        return find(image, self.manifest, self.raw)


def open_finder(bundle: Bundle, _runtime: str) -> Finder:
    """Open a detector. It runs on OpenVINO alone."""
    return Finder(bundle)
