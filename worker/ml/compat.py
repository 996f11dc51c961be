"""Cures for libraries that do not fit each other, or not this work."""

import ctypes
import gc
import importlib
import sys
import threading
from contextlib import AbstractContextManager
from functools import lru_cache
from types import ModuleType

# torchvision's registry build expects operators that a CPU build of torch does not bring; only their names are needed
# for the import. The operators themselves still raise, so nothing of ours may call `torchvision.ops.nms`.
_MISSING_OPERATOR = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[object] = []  # a Library that is collected takes its operators with it


@lru_cache(maxsize=1)
def import_timm() -> ModuleType:
    """Return the `timm` module, with torchvision importable beside a CPU build of torch."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING_OPERATOR not in str(error):
            raise
        _declare_operators()
        importlib.import_module("torchvision")
    return importlib.import_module("timm")


def _declare_operators() -> None:
    import torch

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)


def single_threaded_algebra() -> AbstractContextManager[object]:
    """Keep NumPy's linear algebra to one thread while the context lasts.

    The matrices of a head are small: threads spend more time waiting for each other than they save, many times more
    where another process wants the cores. It also makes results independent of the number of cores.
    """
    import scipy.linalg  # noqa: F401 - it brings a library of its own, which only then can be limited
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")


def return_memory() -> None:
    """Give what is no longer used back to the system, where the C library can: it keeps much for itself otherwise."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def import_ahead(*names: str) -> threading.Thread:
    """Import modules in a thread of their own, while the caller computes on another core."""

    def run() -> None:
        for name in names:
            importlib.import_module(name)

    thread = threading.Thread(target=run, name="import-ahead", daemon=True)
    thread.start()
    return thread
