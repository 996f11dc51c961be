"""Computing the features of many images with every core busy, and keeping them.

Threads decode and resize while OpenVINO, or torch on a GPU, infers; both run outside Python's lock. One thread, the
caller's, collects the results, stores them every second and reports; it is also where a request to stop is noticed.

D is the length of a feature vector.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.catalog import View
from app.contracts.bundle import Precision, Preprocessing
from app.contracts.dataset import DatasetItem
from app.inference.preprocess import to_pixels
from app.inference.sessions.openvino import CompiledPart, engine_version, image_part, n_cpus, supported_precision
from worker.ml.backbones.export import FEATURES_NAME, ExportedBackbone
from worker.ml.data.feature_store import FeatureKind, FeatureStore
from worker.ml.data.torch_part import TorchPart, has_cuda

OpenImage = Callable[[DatasetItem], bytes | Path]
OnImages = Callable[[int, int], None]
"""Called with (images done, images in all), a few times a second."""

_STORE_EVERY_S = 1.0
_REPORT_EVERY_S = 0.2
_AHEAD = 4  # images in flight for each core: enough to never starve it, few enough to stop at once


@dataclass
class Extracted:
    """Features by image, `vectors` by (sha256, view index), and the images that could not be read.

    Vectors (D,) are as they are stored, in half precision where the arithmetic was bf16: `stack` widens them.
    """

    vectors: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    n_computed: int = 0
    seconds: float = 0.0


class FeatureExtractor:
    """Computes and keeps the features of one backbone at one size. Compiles the network only when something is new.

    Args:
        backbone: The exported graph.
        preprocessing: How pictures become pixels.
        precision: Wanted arithmetic; `f32` is used where the CPU has no bf16.
        cache_dir: Where feature files lie.
        open_image: Returns the bytes, or the file, of an image.
    """

    def __init__(
        self,
        backbone: ExportedBackbone,
        preprocessing: Preprocessing,
        *,
        precision: Precision,
        cache_dir: Path,
        open_image: OpenImage,
    ) -> None:
        self.backbone = backbone
        self.preprocessing = preprocessing
        # On a GPU the weights are read anew from the card's file: what learned here is only in its graph.
        self._on_gpu = has_cuda() and not backbone.learned
        self.precision = "f32" if self._on_gpu else supported_precision(precision)
        self._open_image = open_image
        self._directory = cache_dir / "features"
        self._part: CompiledPart | TorchPart | None = None
        self.kind = FeatureKind(
            backbone=backbone.card.id,
            backbone_identity=backbone.identity,
            preprocessing=preprocessing,
            precision=self.precision,
            runtime="torch-cuda" if self._on_gpu else f"openvino-{engine_version()}",
            dim=backbone.layout.dim,
        )

    def n_missing(self, items: Sequence[DatasetItem], views: Sequence[View]) -> int:
        """Return how many passes of the network `extract` would need."""
        hashes = {item.sha256 for item in items}
        with FeatureStore(self._directory, self.kind) as store:
            return sum(len(hashes) - len(store.present(hashes, view.index)) for view in views)

    def extract(
        self, items: Sequence[DatasetItem], views: Sequence[View], *, on_images: OnImages | None = None
    ) -> Extracted:
        """Return the features of images under views, computing only what is not stored.

        An image that cannot be read is reported in the result and left out. `on_images` may raise to stop; what was
        computed until then is kept.
        """
        started = time.perf_counter()
        result = Extracted()
        by_hash = {item.sha256: item for item in items}
        with FeatureStore(self._directory, self.kind) as store:
            todo: dict[str, list[View]] = {}
            for view in views:
                stored = store.read(by_hash, view.index)
                result.vectors.update({(sha256, view.index): vector for sha256, vector in stored.items()})
                for sha256 in by_hash.keys() - stored.keys():
                    todo.setdefault(sha256, []).append(view)
            # In the caller's order, so that an interrupted run has done the first ones.
            work = [(item, todo[sha256]) for sha256, item in by_hash.items() if sha256 in todo]
            if work:
                self._compute(work, store, result, on_images or (lambda _done, _total: None))
        result.seconds = time.perf_counter() - started
        return result

    def _compute(
        self,
        work: Sequence[tuple[DatasetItem, list[View]]],
        store: FeatureStore,
        result: Extracted,
        on_images: OnImages,
    ) -> None:
        part = self._compiled()
        fresh: dict[tuple[str, int], np.ndarray] = {}
        stored_at = reported_at = time.monotonic()
        n_done = 0
        try:
            for item, outcome in self._finished(part, work, on_images):
                n_done += 1
                if isinstance(outcome, str):
                    result.unreadable[item.sha256] = outcome
                else:
                    vectors = {(item.sha256, index): store.rounded(vector) for index, vector in outcome.items()}
                    fresh.update(vectors)
                    result.vectors.update(vectors)
                    result.n_computed += len(vectors)
                now = time.monotonic()
                if now - stored_at > _STORE_EVERY_S:
                    store.write(fresh)
                    fresh, stored_at = {}, now
                if now - reported_at > _REPORT_EVERY_S or n_done == len(work):
                    on_images(n_done, len(work))
                    reported_at = now
        finally:
            store.write(fresh)

    def _finished(
        self, part: CompiledPart | TorchPart, work: Sequence[tuple[DatasetItem, list[View]]], on_images: OnImages
    ) -> Iterator[tuple[DatasetItem, dict[int, np.ndarray] | str]]:
        """Yield images as they are done: their features by view, or the reason why one could not be read."""
        remaining = iter(work)
        pending: dict[Future[dict[int, np.ndarray] | str], DatasetItem] = {}
        n_done = 0
        # One thread more than cores: while one waits for the disk, the cores still have work.
        with ThreadPoolExecutor(part.n_requests + 1) as pool:
            try:
                while True:
                    while len(pending) < _AHEAD * part.n_requests and (following := next(remaining, None)):
                        item, views = following
                        pending[pool.submit(self._features_of, part, item, views)] = item
                    if not pending:
                        return
                    done, _ = wait(pending, timeout=_REPORT_EVERY_S, return_when=FIRST_COMPLETED)
                    if not done:  # a very large picture: stay reachable for a request to stop
                        on_images(n_done, len(work))
                    for future in done:
                        n_done += 1
                        yield pending.pop(future), future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _features_of(
        self, part: CompiledPart | TorchPart, item: DatasetItem, views: Sequence[View]
    ) -> dict[int, np.ndarray] | str:
        try:
            pixels = to_pixels(self._open_image(item), self.preprocessing)
        except Exception as error:  # noqa: BLE001 - one bad image, however bad, must not end the training
            return str(error) or type(error).__name__
        return {view.index: part(seen_from(pixels, view)[None])[0] for view in views}

    def _compiled(self) -> CompiledPart | TorchPart:
        if self._part is None and self._on_gpu:
            self._part = TorchPart(self.backbone, self.preprocessing)
        elif self._part is None:
            self._part = image_part(
                self.backbone.path, FEATURES_NAME, self.preprocessing, precision=self.precision, n_streams=n_cpus()
            )
        return self._part


def seen_from(pixels: np.ndarray, view: View) -> np.ndarray:
    """Return a square picture (H, W, 3) under a view: turned counter-clockwise, then mirrored left to right."""
    turned = np.rot90(pixels, view.quarter_turns)
    return np.ascontiguousarray(turned[:, ::-1] if view.is_mirrored else turned)
