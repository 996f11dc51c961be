"""The engine that serves a model bundle: pictures in, scores and decisions out.

The web process, the predictor and the worker's evaluation all run bundles through this package, so what was measured
is what is served. Importing it is cheap: OpenVINO and ONNX Runtime are imported when the first model is opened.
"""

from app.inference.batching import BatchingPredictor
from app.inference.bundle import Bundle, BundleInvalid, BundleTooNew, read_bundle
from app.inference.decision import decide
from app.inference.engine import Engine
from app.inference.loaded import HeatMap, LoadedModel, Prediction
from app.inference.preprocess import Compared, Picture, open_picture, to_pixels

__all__ = [
    "BatchingPredictor",
    "Bundle",
    "BundleInvalid",
    "BundleTooNew",
    "Compared",
    "Engine",
    "HeatMap",
    "LoadedModel",
    "Picture",
    "Prediction",
    "decide",
    "open_picture",
    "read_bundle",
    "to_pixels",
]
