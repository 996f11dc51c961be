"""ONNX Runtime: the second runtime, for machines with CUDA and for proving that a bundle does not depend on the first.

It is not installed with the web process; the import fails with a clear message where it is missing.
"""

import threading
from typing import TYPE_CHECKING

import numpy as np

from app.core.errors import Unavailable
from app.inference.bundle import Bundle
from app.inference.sessions.openvino import n_cpus

if TYPE_CHECKING:
    import onnxruntime

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxRuntimeSession:
    """A bundle on ONNX Runtime, in float32. See `InferenceSession`."""

    n_parallel = 1

    def __init__(self, bundle: Bundle) -> None:
        runtime = _import()
        self._manifest = bundle.manifest
        self._path = bundle.model_path
        self._runtime = runtime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = n_cpus()
        wanted = [name for name in _PROVIDERS if name in runtime.get_available_providers()]
        self._session = runtime.InferenceSession(str(bundle.model_path), options, providers=wanted)
        self.max_batch = 16 if self._session.get_providers()[0].startswith("CUDA") else 4
        self._head: onnxruntime.InferenceSession | None = None
        self._head_lock = threading.Lock()
        preprocessing = self._manifest.preprocessing
        self._scale = np.float32(1.0) / (255.0 * np.asarray(preprocessing.std, dtype=np.float32))
        self._shift = np.asarray(preprocessing.mean, dtype=np.float32) / np.asarray(preprocessing.std, dtype=np.float32)

    @property
    def engine(self) -> str:
        device = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        return f"onnxruntime {self._runtime.__version__} {device} f32"

    def features(self, pixels: np.ndarray) -> np.ndarray:
        return self._run(pixels, self._manifest.features_name)

    def scores(self, features: np.ndarray) -> np.ndarray:
        with self._head_lock:
            if self._head is None:
                self._head = self._open_head()
        name = self._manifest.features_name
        return self._head.run([self._manifest.scores_name], {name: np.ascontiguousarray(features, dtype=np.float32)})[0]

    def heat(self, pixels: np.ndarray) -> np.ndarray:
        if self._manifest.heat_name is None:
            raise LookupError("this bundle has no heat output")
        return self._run(pixels, self._manifest.heat_name)

    def _run(self, pixels: np.ndarray, output: str) -> np.ndarray:
        image = (pixels.astype(np.float32) * self._scale - self._shift).transpose(0, 3, 1, 2)
        return self._session.run([output], {self._manifest.input_name: np.ascontiguousarray(image)})[0]

    def _open_head(self) -> "onnxruntime.InferenceSession":
        """Cut the graph at its features: this runtime cannot be entered in the middle."""
        import onnx
        from onnx.utils import Extractor

        extractor = Extractor(onnx.load(self._path))
        head = extractor.extract_model([self._manifest.features_name], [self._manifest.scores_name])
        return self._runtime.InferenceSession(head.SerializeToString(), providers=["CPUExecutionProvider"])


def _import():
    try:
        import onnxruntime
    except ImportError as error:
        raise Unavailable("ONNX Runtime is not installed on this machine: pip install onnxruntime.") from error
    return onnxruntime


def open_onnxruntime(bundle: Bundle) -> OnnxRuntimeSession:
    return OnnxRuntimeSession(bundle)
