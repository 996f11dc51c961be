"""Models ready to answer, and the cache that keeps them ready.

K is the number of classes, D the length of the features, H' and W' the sides of a heat map.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.contracts.bundle import BundleManifest
from app.contracts.predictions import ClassScores, Decision
from app.contracts.tasks import TaskType
from app.core.pictures import DEFAULT_MAX_PIXELS
from app.inference.bundle import Bundle, read_bundle
from app.inference.decision import decide
from app.inference.preprocess import Picture, letterbox_box, open_picture, to_pixels
from app.inference.sessions import SESSIONS, InferenceSession

# A compiled network holds its weights about three times: the file's, the runtime's reordered ones, and work buffers.
_BYTES_PER_FILE_BYTE = 3
_BYTES_PER_STREAM = 8_000_000


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture, and where its time went (seconds)."""

    scores: ClassScores
    decision: Decision
    preprocess_s: float
    infer_s: float


@dataclass(frozen=True)
class HeatMap:
    """Where a class is seen: `values` (H', W') float32, above 0 speaks for the class, below 0 against it.

    The map covers the whole picture; a letterbox's borders are cut off.
    """

    values: np.ndarray
    category_index: int
    scores: ClassScores


def _class_scores(rows: np.ndarray) -> list[ClassScores]:
    return [ClassScores(scores=tuple(row)) for row in rows.astype(np.float64).tolist()]


# What a bundle's output means, by task; other tasks join here.
_DECODERS: dict[TaskType, Callable[[np.ndarray], list[ClassScores]]] = {
    TaskType.CLASSIFICATION: _class_scores,
    TaskType.ANOMALY: _class_scores,
}


class LoadedModel:
    """A bundle that is compiled and answers. May be used from many threads at once."""

    def __init__(self, bundle: Bundle, session: InferenceSession) -> None:
        self.bundle = bundle
        self.session = session
        self._decode = _DECODERS[bundle.manifest.task]

    @property
    def manifest(self) -> BundleManifest:
        return self.bundle.manifest

    @property
    def n_bytes(self) -> int:
        """Estimate of the memory that it holds."""
        file_bytes = self.bundle.model_path.stat().st_size
        return _BYTES_PER_FILE_BYTE * file_bytes + _BYTES_PER_STREAM * self.session.n_parallel

    def predict(
        self,
        pictures: Sequence[Picture],
        *,
        threshold: float | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> list[Prediction]:
        """Answer for each picture; `threshold` overrides the bundle's own.

        Raises:
            NotAPicture: The bytes are no format that is read.
            BrokenPicture: The file is damaged.
            PictureTooLarge: More than `max_pixels`.
        """
        if len(pictures) <= self.session.max_batch:
            return self._predict_batch(pictures, threshold, max_pixels)
        size = self.session.max_batch
        batches = [pictures[start : start + size] for start in range(0, len(pictures), size)]
        with ThreadPoolExecutor(self.session.n_parallel) as pool:
            answers = pool.map(lambda batch: self._predict_batch(batch, threshold, max_pixels), batches)
            return [prediction for answer in answers for prediction in answer]

    def predict_from_features(self, features: np.ndarray) -> list[ClassScores]:
        """Return the scores of features (N, D) that were computed before, by the same graph and arithmetic."""
        return self._decode(self.session.scores(features)) if len(features) else []

    def decide(self, scores: ClassScores, *, threshold: float | None = None) -> Decision:
        """Apply the bundle's decision rule; `threshold` overrides its own."""
        return decide(scores, self.manifest.decision, self.manifest.categories, threshold=threshold)

    def explain(
        self, picture: Picture, *, category_index: int | None = None, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> HeatMap:
        """Return where a class is seen, by default the one that the model answers.

        Raises:
            LookupError: The bundle has no heat output.
            NotAPicture: The bytes are no format that is read.
            BrokenPicture: The file is damaged.
            PictureTooLarge: More than `max_pixels`.
        """
        image = open_picture(picture, max_pixels=max_pixels)
        pixels = to_pixels(image, self.manifest.preprocessing)[None]
        scores = self.predict_from_features(self.session.features(pixels))[0]
        index = self.decide(scores).category_index if category_index is None else category_index
        values = self.session.heat(pixels)[0, index].astype(np.float32)
        return HeatMap(self._without_letterbox(values, image.size), index, scores)

    def _predict_batch(self, pictures: Sequence[Picture], threshold: float | None, max_pixels: int) -> list[Prediction]:
        started = time.perf_counter()
        pixels = np.stack(
            [to_pixels(picture, self.manifest.preprocessing, max_pixels=max_pixels) for picture in pictures]
        )
        ready = time.perf_counter()
        rows = self.predict_from_features(self.session.features(pixels))
        infer_s = (time.perf_counter() - ready) / len(pictures)
        preprocess_s = (ready - started) / len(pictures)
        return [Prediction(row, self.decide(row, threshold=threshold), preprocess_s, infer_s) for row in rows]

    def _without_letterbox(self, values: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
        preprocessing = self.manifest.preprocessing
        if preprocessing.resize != "letterbox":
            return values
        left, top, width, height = letterbox_box(*size_px, preprocessing)
        rows, columns = values.shape
        y0, y1 = top * rows / preprocessing.height_px, (top + height) * rows / preprocessing.height_px
        x0, x1 = left * columns / preprocessing.width_px, (left + width) * columns / preprocessing.width_px
        return values[int(y0) : max(int(y0) + 1, round(y1)), int(x0) : max(int(x0) + 1, round(x1))]


class Engine:
    """Keeps the models used last compiled, up to a number of bytes. Thread-safe."""

    def __init__(self, *, max_bytes: int = 1_000_000_000, runtime: str = "openvino") -> None:
        self._max_bytes = max_bytes
        self._open = SESSIONS[runtime]
        self._models: OrderedDict[Path, LoadedModel] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[Path, threading.Lock] = {}

    def get(self, directory: Path) -> LoadedModel:
        """Return the model of a bundle's folder, compiling it if it is not ready.

        A bundle never changes, so its files are read and checked only when it is compiled.

        Raises:
            BundleInvalid: A file is missing, broken or changed.
            BundleTooNew: The bundle was written by a newer Kizu.
        """
        key = directory.resolve()
        found = self._find(key)
        if found is not None:
            return found
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:  # two requests for the same model compile it once
            found = self._find(key)
            if found is not None:
                return found
            bundle = read_bundle(key)
            model = LoadedModel(bundle, self._open(bundle))
            self._keep(key, model)
        return model

    def forget(self, directory: Path) -> None:
        """Drop a model from memory, for example because its files are about to be deleted."""
        with self._lock:
            self._models.pop(directory.resolve(), None)

    @property
    def n_bytes(self) -> int:
        """Estimate of the memory that the kept models hold."""
        with self._lock:
            return sum(model.n_bytes for model in self._models.values())

    def _find(self, key: Path) -> LoadedModel | None:
        with self._lock:
            model = self._models.get(key)
            if model is not None:
                self._models.move_to_end(key)
            return model

    def _keep(self, key: Path, model: LoadedModel) -> None:
        with self._lock:
            self._models[key] = model
            self._loading.pop(key, None)
            # The newest stays even if it alone is over the limit: a request is waiting for it.
            while len(self._models) > 1 and sum(kept.n_bytes for kept in self._models.values()) > self._max_bytes:
                self._models.popitem(last=False)
