"""Models that answer for an image as a whole: one score for each class. Classification and anomaly detection.

K is the number of classes, D the length of the features, H' and W' the sides of a heat map.
"""

import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from app.contracts.bundle import Preprocessing
from app.contracts.predictions import ClassScores, Decision
from app.core.pictures import DEFAULT_MAX_PIXELS
from app.inference.bundle import Bundle
from app.inference.decision import decide
from app.inference.loaded import HeatMap, LoadedModel, Prediction
from app.inference.preprocess import Picture, letterbox_box, open_picture, to_pixels
from app.inference.sessions import SESSIONS, InferenceSession


class ScoringModel(LoadedModel):
    """A bundle with a score for each class, on any runtime."""

    def __init__(self, bundle: Bundle, session: InferenceSession) -> None:
        self.bundle = bundle
        self.session = session
        self.max_batch, self.n_parallel = session.max_batch, session.n_parallel

    @property
    def engine(self) -> str:
        return self.session.engine

    def predict_from_features(self, features: np.ndarray) -> list[ClassScores]:
        """Return the scores of features (N, D) that were computed before, by the same graph and arithmetic."""
        if not len(features):
            return []
        rows = self.session.scores(features).astype(np.float64).tolist()
        return [ClassScores(scores=tuple(row)) for row in rows]

    def decide(self, scores: ClassScores, *, threshold: float | None = None) -> Decision:
        """Apply the bundle's decision rule; `threshold` overrides its own."""
        return decide(scores, self.manifest.decision, self.manifest.categories, threshold=threshold)

    def explain(
        self, picture: Picture, *, category_index: int | None = None, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> HeatMap:
        image = open_picture(picture, max_pixels=max_pixels)
        pixels = to_pixels(image, self.manifest.preprocessing)[None]
        scores = self.predict_from_features(self.session.features(pixels))[0]
        index = self.decide(scores).category_index if category_index is None else category_index
        values = self.session.heat(pixels)[0, index].astype(np.float32)
        return HeatMap(without_letterbox(values, image.size, self.manifest.preprocessing), index, scores)

    def _predict_batch(self, pictures: Sequence[Picture], threshold: float | None, max_pixels: int) -> list[Prediction]:
        started = time.perf_counter()
        made = [to_pixels(picture, self.manifest.preprocessing, max_pixels=max_pixels) for picture in pictures]
        pixels = made[0][None] if len(made) == 1 else np.stack(made)
        ready = time.perf_counter()
        rows = self.predict_from_features(self.session.features(pixels))
        infer_s = (time.perf_counter() - ready) / len(pictures)
        preprocess_s = (ready - started) / len(pictures)
        return [Prediction(row, self.decide(row, threshold=threshold), preprocess_s, infer_s) for row in rows]


def without_letterbox(values: np.ndarray, size_px: tuple[int, int], preprocessing: Preprocessing) -> np.ndarray:
    """Return the part of a heat map (H', W') of float32 that shows a picture of this width and height."""
    if preprocessing.resize != "letterbox":
        return values
    left, top, width, height = letterbox_box(*size_px, preprocessing)
    rows, columns = values.shape
    across, down = columns / preprocessing.width_px, rows / preprocessing.height_px
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    # Exactly the picture's part, though its edges lie within places: cut at whole ones, the map would be shifted.
    size = max(1, round(width * across)), max(1, round(height * down))
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR, box=box))


def open_scoring_model(bundle: Bundle, runtime: str) -> ScoringModel:
    return ScoringModel(bundle, SESSIONS[runtime](bundle))
