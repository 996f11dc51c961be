"""Which kind of model answers which task, and the cache that keeps models ready."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from app.contracts.tasks import TaskType
from app.inference.bundle import Bundle, read_bundle
from app.inference.finder import open_finder
from app.inference.loaded import LoadedModel
from app.inference.scoring import open_scoring_model
from app.inference.segmenter import open_segmenter

MODELS: dict[TaskType, Callable[[Bundle, str], LoadedModel]] = {
    TaskType.CLASSIFICATION: open_scoring_model,
    TaskType.ANOMALY: open_scoring_model,
    TaskType.DETECTION: open_finder,
    TaskType.SEGMENTATION: open_segmenter,
}
"""How a bundle is opened, by its task; called with the bundle and the runtime's name. Other tasks join here."""


class Engine:
    """Keeps the models used last compiled, up to a number of bytes. Thread-safe."""

    def __init__(self, *, max_bytes: int = 1_000_000_000, runtime: str = "openvino") -> None:
        self._max_bytes = max_bytes
        self._runtime = runtime
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
            model = MODELS[bundle.manifest.task](bundle, self._runtime)
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
