"""Inference sessions: one surface, several runtimes. `SESSIONS` names them."""

from collections.abc import Callable

from app.inference.bundle import Bundle
from app.inference.sessions.base import InferenceSession
from app.inference.sessions.onnxruntime import open_onnxruntime
from app.inference.sessions.openvino import open_openvino

SESSIONS: dict[str, Callable[[Bundle], InferenceSession]] = {
    "openvino": open_openvino,
    "onnxruntime": open_onnxruntime,
}

__all__ = ["SESSIONS", "InferenceSession", "open_onnxruntime", "open_openvino"]
