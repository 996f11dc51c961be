"""OpenVINO on the CPU: the default runtime.

A bundle is compiled in pieces: image to features in the bundle's precision, features to scores always in float32 (a
z-score folded into a linear layer subtracts large numbers, which bf16 cannot), image to heat only when first asked.
"""

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.contracts.bundle import Precision, Preprocessing
from app.inference.bundle import Bundle

if TYPE_CHECKING:
    import openvino

# Pictures ready beside those that run. Two cores were seen idle for 7 % of the time with none, 1.5 % with one, 0.5 %
# with two.
_WAITING = 2

_lock = threading.Lock()
_core: "openvino.Core | None" = None


def core() -> "openvino.Core":
    """Return the process's one OpenVINO core; the import happens here."""
    global _core
    with _lock:
        if _core is None:
            import openvino

            # The table behind `to_dtype` is filled at its first use, under a C++ guard that gives Python's lock away
            # meanwhile: the first two inferences, at the same time, would wait for each other for ever.
            openvino.Type.u8.to_dtype()
            _core = openvino.Core()
        return _core


def n_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def supported_precision(wanted: Precision) -> Precision:
    """Return `wanted` where the CPU computes it natively, else `f32`."""
    if wanted == "f32":
        return wanted
    return "bf16" if "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def engine_version() -> str:
    """Return the runtime's version, for example `2026.4.1`."""
    import openvino

    return str(openvino.__version__).split("-")[0]


class CompiledPart:
    """A piece of a graph compiled for one image at a time, with a pool of requests that threads share.

    One image a request and a stream a core is the fastest way for small networks on a CPU: a batch leaves cores idle
    at the end of each layer. There are more requests than streams: a stream that ends an image finds the next one
    waiting, and no core stands still until Python has taken the answer away.
    """

    def __init__(self, model: "openvino.Model", *, precision: Precision, n_streams: int) -> None:
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": n_streams,
            "INFERENCE_NUM_THREADS": n_streams,
            "ENABLE_CPU_PINNING": False,
        }
        self.compiled = core().compile_model(model, "CPU", config)
        self.n_requests = n_streams + _WAITING
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(self.n_requests):
            self._requests.put(self.compiled.create_infer_request())

    @contextmanager
    def request(self) -> "Iterator[openvino.InferRequest]":
        """Lend a request that no other thread uses."""
        request = self._requests.get()
        try:
            yield request
        finally:
            self._requests.put(request)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Run (B, ...) one by one and return the output (B, ...); B > 1 is spread over free requests by the caller."""
        return self.all(batch)[0]

    def all(self, batch: np.ndarray) -> list[np.ndarray]:
        """As a call, for every output of the piece."""
        rows: list[list[np.ndarray]] = [[] for _ in self.compiled.outputs]
        with self.request() as request:
            pixels = request.get_input_tensor(0).data
            for row in batch:
                pixels[0] = row
                # On this very thread: handing the work to one of the runtime's and waiting for it costs more.
                request.infer(share_outputs=True)
                for index, kept in enumerate(rows):
                    kept.append(request.get_output_tensor(index).data.copy())
        return [kept[0] if len(kept) == 1 else np.concatenate(kept) for kept in rows]


def image_part(
    path: Path,
    output: str | Sequence[str],
    preprocessing: Preprocessing,
    *,
    precision: Precision,
    n_streams: int | None = None,
) -> CompiledPart:
    """Compile the piece of a graph from image bytes (1, H, W, 3) uint8 to one named output, or to several.

    Raises:
        LookupError: The graph has no such output.
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    whole = core().read_model(path)
    names = [output] if isinstance(output, str) else output
    model = openvino.Model([_output(whole, name) for name in names], whole.get_parameters())
    model.reshape([1, 3, preprocessing.height_px, preprocessing.width_px])
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    mean = [255.0 * value for value in preprocessing.mean]
    std = [255.0 * value for value in preprocessing.std]
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
    return CompiledPart(steps.build(), precision=precision, n_streams=n_streams or n_cpus())


def _output(model: "openvino.Model", name: str) -> Any:
    for output in model.outputs:
        if name in output.get_names():
            return output
    raise LookupError(f"the graph has no output called {name}")


def head_part(path: Path, features: str, scores: str) -> "openvino.CompiledModel":
    """Compile the piece of a graph from its features (B, D) to its scores (B, K), in float32."""
    import openvino
    from openvino import opset13

    whole = core().read_model(path)
    source = _output(whole, features).get_node().input_value(0)
    entry = opset13.parameter([-1, source.get_partial_shape()[1].get_length()], openvino.Type.f32, name=features)
    for target in source.get_target_inputs():
        if target.get_node().get_type_name() != "Result":
            target.replace_source_output(entry.output(0))
    model = openvino.Model([_output(whole, scores)], [entry])
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    return core().compile_model(model, "CPU", config)


class OpenVinoSession:
    """A bundle on OpenVINO. See `InferenceSession`."""

    max_batch = 1

    def __init__(self, bundle: Bundle, *, precision: Precision | None = None, n_streams: int | None = None) -> None:
        self._bundle = bundle
        self._manifest = bundle.manifest
        self.precision: Precision = supported_precision(precision or bundle.manifest.precision)
        self.n_parallel = n_streams or n_cpus()
        self._features = self._part(self._manifest.features_name)
        self._head = head_part(bundle.model_path, self._manifest.features_name, self._manifest.scores_name)
        self._head_requests: threading.local = threading.local()
        self._heat: CompiledPart | None = None
        self._heat_lock = threading.Lock()

    @property
    def engine(self) -> str:
        return f"openvino {engine_version()} CPU {self.precision}"

    def features(self, pixels: np.ndarray) -> np.ndarray:
        return self._features(pixels)

    def scores(self, features: np.ndarray) -> np.ndarray:
        request = getattr(self._head_requests, "request", None)
        if request is None:
            request = self._head_requests.request = self._head.create_infer_request()
        request.infer({0: np.ascontiguousarray(features, dtype=np.float32)})
        return request.get_output_tensor(0).data.copy()

    def heat(self, pixels: np.ndarray) -> np.ndarray:
        if self._manifest.heat_name is None:
            raise LookupError("this bundle has no heat output")
        with self._heat_lock:
            if self._heat is None:
                self._heat = self._part(self._manifest.heat_name, n_streams=1)
        return self._heat(pixels)

    def _part(self, output: str, n_streams: int | None = None) -> CompiledPart:
        return image_part(
            self._bundle.model_path,
            output,
            self._manifest.preprocessing,
            precision=self.precision,
            n_streams=n_streams or self.n_parallel,
        )


def open_openvino(bundle: Bundle) -> OpenVinoSession:
    return OpenVinoSession(bundle)
