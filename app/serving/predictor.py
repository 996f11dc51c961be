"""This process's models and threads that answer predictions, for the REST route and for Try alike."""

import logging
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from app.contracts.bundle import MANIFEST_NAME, MODEL_NAME
from app.core.errors import Unavailable
from app.inference import BatchingPredictor, Engine, LoadedModel
from app.inference.bundle import read_manifest, reference_files
from app.settings import get_settings
from app.storage.current import blobs

log = logging.getLogger(__name__)

_lock = threading.Lock()


@dataclass(frozen=True)
class _Running:
    engine: Engine
    batching: BatchingPredictor


_running: _Running | None = None
# Bundles that are compiled now, and when each was last asked for: the engine decides how long it keeps which, and is
# told of use once a second, for finding a folder's true name costs as much as the rest of a call.
_loaded: "weakref.WeakValueDictionary[str, LoadedModel]" = weakref.WeakValueDictionary()
_touched: dict[str, float] = {}
_TOUCH_EVERY_S = 1.0
_directories: dict[str, Path] = {}


def predictor() -> BatchingPredictor:
    """Return the predictor of this process, started by the first call."""
    return _get().batching


async def load(bundle_key: str) -> LoadedModel:
    """Return a model without blocking the event loop while it is fetched and compiled. Raises as `open_model` does."""
    model = _loaded.get(bundle_key)
    now = time.monotonic()
    if model is not None and now - _touched.get(bundle_key, 0.0) < _TOUCH_EVERY_S:
        return model
    _touched[bundle_key] = now  # the calls that come meanwhile need not tell as well
    return await run_in_threadpool(open_model, bundle_key)


def open_model(bundle_key: str) -> LoadedModel:
    """Return the model of a bundle, fetched from the store and compiled if it is not ready.

    Its file is checked against the manifest's SHA-256 before it is compiled.

    Raises:
        BlobMissing: A file of the bundle is gone.
        BundleInvalid: A file is damaged or changed.
        BundleTooNew: The bundle was written by a newer Kizu.
    """
    directory = _directories.get(bundle_key)
    if directory is None:
        directory = _directories[bundle_key] = _fetched(bundle_key)
    model = _get().engine.get(directory)
    _loaded[bundle_key] = model
    return model


def _fetched(bundle_key: str) -> Path:
    """Bring the files of a bundle onto this machine; return their folder."""
    paths = [blobs().local_path(f"{bundle_key}/{name}") for name in (MANIFEST_NAME, MODEL_NAME)]
    for name in reference_files(read_manifest(paths[0])):
        blobs().local_path(f"{bundle_key}/{name}")
    return paths[0].parent


def warm(bundle_key: str) -> None:
    """Compile a model in the background, so that the first call of a new endpoint does not wait for it."""
    threading.Thread(target=_try_open, args=(bundle_key,), name="warm-up", daemon=True).start()


def check_room() -> None:
    """Refuse a call before its body is read, while as many wait as may.

    Raises:
        Unavailable: The queue is full.
    """
    if predictor().n_waiting >= get_settings().predict_queue_size:
        raise Unavailable("The predictor is busy. Try again in a moment.", retry_after_s=1)


def close() -> None:
    """End the threads and forget the models; the next call starts anew."""
    global _running
    with _lock:
        running, _running = _running, None
        _directories.clear()
        _touched.clear()
    if running is not None:
        running.batching.close()
    _loaded.clear()


def _get() -> _Running:
    global _running
    running = _running
    if running is not None:
        return running
    with _lock:
        if _running is None:
            settings = get_settings()
            _running = _Running(
                engine=Engine(max_bytes=settings.predict_cache_mb * 1_000_000),
                batching=BatchingPredictor(
                    max_waiting=settings.predict_queue_size, max_pixels=settings.max_image_megapixels * 1_000_000
                ),
            )
        return _running


def _try_open(bundle_key: str) -> None:
    started = time.perf_counter()
    try:
        open_model(bundle_key)
    except Exception:  # the call that needs the model will say what is wrong with it
        log.warning("a model could not be made ready", exc_info=True)
    else:
        log.info("model made ready in %.1f s", time.perf_counter() - started)
