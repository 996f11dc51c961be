"""What every model can do once it is loaded, whatever it answers: for an image as a whole, or with shapes on it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from app.contracts.bundle import BundleManifest, Precision
from app.contracts.predictions import ClassScores, Decision, PredictedShape
from app.core.errors import Invalid
from app.core.pictures import DEFAULT_MAX_PIXELS
from app.inference.bundle import Bundle
from app.inference.decision import decide_shapes, image_scores
from app.inference.preprocess import Compared, Picture, Plain, open_picture
from app.inference.sessions.openvino import engine_version, image_part, n_cpus, supported_precision

# A compiled network holds its weights about three times: the file's, the runtime's reordered ones, and work buffers.
_BYTES_PER_FILE_BYTE = 3
_BYTES_PER_STREAM = 8_000_000
_N_REFERENCES = 4  # decoded ones that are kept at hand


class ReferenceMissing(Invalid):
    """A model that compares pictures with references got one without."""

    code, title = "reference_missing", "No reference image"


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture, and where its time went (seconds).

    `shapes` hold all that was found, the best first, also what is below the threshold; empty where the task answers for
    the image as a whole. `size_px` is then the picture's width and height, after its EXIF turn.
    """

    scores: ClassScores
    decision: Decision
    preprocess_s: float
    infer_s: float
    shapes: tuple[PredictedShape, ...] = ()
    size_px: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class HeatMap:
    """Where a class is seen: `values` (H', W') float32, above 0 speaks for the class, below 0 against it.

    The map covers the whole picture; a letterbox's borders are cut off.
    """

    values: np.ndarray
    category_index: int
    scores: ClassScores


class LoadedModel(ABC):
    """A bundle that is compiled and answers. May be used from many threads at once.

    Attributes:
        bundle: What it was read from.
        max_batch: Pictures of one call beyond which larger batches bring nothing.
        n_parallel: Calls that run at the same time without slowing each other down.
    """

    bundle: Bundle
    max_batch: int
    n_parallel: int

    @property
    def manifest(self) -> BundleManifest:
        return self.bundle.manifest

    @property
    @abstractmethod
    def engine(self) -> str:
        """Runtime, version, device and precision, for people."""

    @property
    def n_bytes(self) -> int:
        """Estimate of the memory that it holds."""
        file_bytes = self.bundle.model_path.stat().st_size
        return _BYTES_PER_FILE_BYTE * file_bytes + _BYTES_PER_STREAM * self.n_parallel

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
        size = self.max_batch
        if len(pictures) <= size:
            return self._predict_batch(pictures, threshold, max_pixels)
        batches = [pictures[start : start + size] for start in range(0, len(pictures), size)]
        with ThreadPoolExecutor(self.n_parallel) as pool:
            answers = pool.map(lambda batch: self._predict_batch(batch, threshold, max_pixels), batches)
            return [prediction for answer in answers for prediction in answer]

    @abstractmethod
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

    @abstractmethod
    def _predict_batch(
        self, pictures: Sequence[Picture], threshold: float | None, max_pixels: int
    ) -> list[Prediction]: ...


class ShapeModel(LoadedModel):
    """A model that finds things on pictures and says of each where it is; the image is NG where it finds any.

    It runs on OpenVINO alone. `outputs` are those of the graph that it reads.
    """

    max_batch = 1

    def __init__(
        self,
        bundle: Bundle,
        outputs: Sequence[str],
        *,
        precision: Precision | None = None,
        n_streams: int | None = None,
    ) -> None:
        self.bundle = bundle
        self.precision: Precision = supported_precision(precision or bundle.manifest.precision)
        self.n_parallel = n_streams or n_cpus()
        self._part = image_part(
            bundle.model_path,
            outputs,
            bundle.manifest.preprocessing,
            precision=self.precision,
            n_streams=self.n_parallel,
        )
        self._bundled = lru_cache(maxsize=_N_REFERENCES)(lambda sha256: open_picture(bundle.reference_path(sha256)))

    @property
    def engine(self) -> str:
        return f"openvino {engine_version()} CPU {self.precision}"

    def find(self, picture: Picture, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[PredictedShape, ...]:
        """Return what is found on a picture, the best first, in pixels of the EXIF-turned original.

        Raises as `opened` does.
        """
        return self._find(self.opened(picture, max_pixels=max_pixels))

    def opened(self, picture: Picture, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
        """Return a decoded picture, joined with its reference where this model compares.

        Raises:
            NotAPicture: The bytes are no format that is read.
            BrokenPicture: The file is damaged.
            PictureTooLarge: More than `max_pixels`.
            ReferenceMissing: This model compares, and nothing says what with.
            ReferenceMismatch: The reference has other proportions than the picture.
        """
        given = picture if isinstance(picture, Compared) else Compared(picture)
        if self.manifest.reference is None:
            return open_picture(given.picture, max_pixels=max_pixels)
        reference = self._reference(given) if given.reference is None else given.reference
        return open_picture(Compared(given.picture, reference), max_pixels=max_pixels)

    def _reference(self, given: Compared) -> Plain:
        known = self.manifest.reference.pictures if self.manifest.reference else {}
        sha256 = None if given.key is None else known.get(given.key)
        if sha256 is None:
            raise ReferenceMissing("This model compares each picture with its reference image, and none is known here.")
        return self._bundled(sha256)

    def explain(
        self,
        picture: Picture,  # noqa: ARG002 - the shapes themselves say where
        *,
        category_index: int | None = None,  # noqa: ARG002
        max_pixels: int = DEFAULT_MAX_PIXELS,  # noqa: ARG002
    ) -> HeatMap:
        raise LookupError("a model that finds shapes has no heat map")

    @abstractmethod
    def _find(self, image: Image.Image) -> tuple[PredictedShape, ...]:
        """Return what is found on a decoded picture, the best first, down to the floor of the bundle's rule."""

    def _predict_batch(self, pictures: Sequence[Picture], threshold: float | None, max_pixels: int) -> list[Prediction]:
        return [self._predict_one(picture, threshold, max_pixels) for picture in pictures]

    def _predict_one(self, picture: Picture, threshold: float | None, max_pixels: int) -> Prediction:
        started = time.perf_counter()
        image = self.opened(picture, max_pixels=max_pixels)
        ready = time.perf_counter()
        shapes = self._find(image)
        infer_s = time.perf_counter() - ready
        limit = self.manifest.decision.threshold if threshold is None else threshold
        scores = ClassScores(scores=image_scores(shapes))
        return Prediction(scores, decide_shapes(shapes, limit), ready - started, infer_s, shapes, image.size)
