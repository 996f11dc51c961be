"""Bodies of the prediction route, as the published clients read them."""

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import numpy as np
import orjson

from app.contracts.bundle import BundleManifest
from app.contracts.predictions import PredictedShape
from app.contracts.tasks import TaskType
from app.core.errors import AppError, Invalid
from app.inference import Prediction
from app.inference.rasters import draw_shape, run_lengths
from app.serving.access import Endpoint

MAX_METADATA_BYTES = 16_384


class MissingPicture(AppError):
    """Neither picture bytes nor an address came with the call."""

    status, code, title = 400, "missing_parameter", "Missing parameter"


class AddressRefused(AppError):
    """The call names an address instead of sending the picture."""

    status, code, title = 400, "file_url_unsupported", "Send the picture itself"


def missing_picture() -> MissingPicture:
    """Return the 400 of a call without a picture; its first words are the ones clients know."""
    return MissingPicture("Missing parameter: send the picture as the multipart part `file`.")


def address_refused() -> AddressRefused:
    """Return the 400 of a call with `file_url`: fetching what a caller names would let them look into the network."""
    return AddressRefused("`file_url` is not supported: Kizu fetches nothing. Send the picture as the part `file`.")


def classification_body(endpoint: Endpoint, prediction: Prediction) -> dict[str, Any]:
    """Return the answer of a model of classification or anomaly detection, without its latency.

    The clients read `backbonetype`, `predictions` and `type`; everything after `model_id` is ours, and they ignore it.
    """
    decision, categories = prediction.decision, endpoint.manifest.categories
    is_anomaly = endpoint.manifest.task is TaskType.ANOMALY
    return {
        "backbonetype": None,
        "backbonepredictions": None,
        "predictions": {
            "score": decision.score,
            "labelIndex": decision.category_index,
            "labelName": categories[decision.category_index].name,
        },
        "type": "ClassificationPrediction",
        "model_id": str(endpoint.model_id),
        "scores": score_list(endpoint.manifest, prediction.scores.scores),
        "ng_score": decision.ng_score,
        "is_unsure": decision.is_unsure,
        "threshold": endpoint.threshold,
        **({"anomaly_score": decision.ng_score} if is_anomaly else {}),
    }


def detection_body(endpoint: Endpoint, prediction: Prediction) -> dict[str, Any]:
    """Return the answer of a detector, without its latency: each box at or above the threshold, and OK or NG.

    Classes count from 1, as the clients have it; coordinates are whole pixels of the picture that was sent.
    """
    return _shapes_body(
        endpoint,
        prediction,
        "ObjectDetectionPrediction",
        {str(uuid4()): _found_box(endpoint, shape) for shape in shown_shapes(endpoint, prediction)},
    )


def _found_box(endpoint: Endpoint, shape: PredictedShape) -> dict[str, Any]:
    category = endpoint.manifest.categories[shape.category_index]
    xmin, ymin = math.floor(shape.box.xmin), math.floor(shape.box.ymin)
    return {
        "score": shape.score,
        "defect_id": category.id,
        "coordinates": {
            "xmin": xmin,
            "ymin": ymin,
            "xmax": max(xmin + 1, round(shape.box.xmax)),
            "ymax": max(ymin + 1, round(shape.box.ymax)),
        },
        "labelIndex": shape.category_index + 1,
        "labelName": category.name,
    }


def segmentation_body(endpoint: Endpoint, prediction: Prediction) -> dict[str, Any]:
    """Return the answer of a segmenter, without its latency: one bitmap a class found, and OK or NG.

    A bitmap is the whole picture row by row; its score is that of the best region in it. `regions` is ours: each region
    with its own score and the rectangle around it.
    """
    width, height = prediction.size_px
    found: dict[int, list[PredictedShape]] = {}
    for shape in shown_shapes(endpoint, prediction):
        found.setdefault(shape.category_index, []).append(shape)
    body = _shapes_body(
        endpoint,
        prediction,
        "SegmentationPrediction",
        {
            "num_classes": len(endpoint.manifest.categories),
            "imageHeight": height,
            "imageWidth": width,
            "encoding": {"algorithm": "rle", "options": {"map": {"Z": 0, "N": 1}}},
            "bitmaps": {str(uuid4()): _bitmap(endpoint, shapes, width, height) for shapes in found.values()},
            "data": None,
            "labels": None,
        },
    )
    regions = [_found_box(endpoint, shape) for shapes in found.values() for shape in shapes]
    return body | {"regions": sorted(regions, key=lambda one: -one["score"])}


def _bitmap(endpoint: Endpoint, shapes: list[PredictedShape], width: int, height: int) -> dict[str, Any]:
    """Return all regions of one class as one bitmap."""
    category, canvas = endpoint.manifest.categories[shapes[0].category_index], np.zeros((height, width), dtype=np.uint8)
    for shape in shapes:
        draw_shape(shape.mask or shape.box, canvas, 1)
    return {
        "score": max(shape.score for shape in shapes),
        "label_name": category.name,
        "label_index": shapes[0].category_index + 1,
        "defect_id": category.id,
        "bitmap": run_lengths(canvas > 0),
    }


def _shapes_body(endpoint: Endpoint, prediction: Prediction, kind: str, shapes: dict[str, Any]) -> dict[str, Any]:
    """Return what the answers of all models that find shapes share; the clients need a mapping even of nothing."""
    decision = prediction.decision
    return {
        "backbonetype": kind,
        "backbonepredictions": shapes,
        "predictions": {
            "score": decision.score,
            "labelIndex": decision.category_index,
            "labelName": IMAGE_ANSWERS[decision.category_index],
        },
        "type": "ClassificationPrediction",
        "model_id": str(endpoint.model_id),
        "ng_score": decision.ng_score,
        "threshold": endpoint.threshold,
    }


def shown_shapes(endpoint: Endpoint, prediction: Prediction) -> list[PredictedShape]:
    """Return the finds at or above the endpoint's threshold, the best first."""
    return [shape for shape in prediction.shapes if shape.score >= endpoint.threshold]


IMAGE_ANSWERS = ("OK", "NG")
"""What an image is called where the model finds shapes, by `Decision.category_index`."""

BODIES: dict[TaskType, Callable[[Endpoint, Prediction], dict[str, Any]]] = {
    TaskType.CLASSIFICATION: classification_body,
    TaskType.ANOMALY: classification_body,
    TaskType.DETECTION: detection_body,
    TaskType.SEGMENTATION: segmentation_body,
}
"""The body of an answer by the model's task. Other tasks join here."""


def heat_map(content: bytes) -> dict[str, str]:
    """Return a heat map as a member of an answer: a transparent PNG of the picture's shape, to lay over it."""
    return {"media_type": "image/png", "data": base64.b64encode(content).decode()}


def score_list(manifest: BundleManifest, scores: tuple[float, ...]) -> list[dict[str, Any]]:
    """Return the score of every class, best first."""
    entries = [
        {"labelIndex": index, "labelName": category.name, "score": score}
        for index, (category, score) in enumerate(zip(manifest.categories, scores, strict=True))
    ]
    return sorted(entries, key=lambda entry: -entry["score"])


def encode(body: Mapping[str, Any], latency: Mapping[str, float], *, clock: Any) -> bytes:
    """Return `body` as JSON with `latency`, in which `serialize_s` is the time that this very call took.

    The latency joins the text after the rest is encoded: a figure cannot be measured and lie inside what it measures.
    """
    begun = clock()
    text = orjson.dumps(body)
    figures = orjson.dumps({**latency, "serialize_s": clock() - begun})
    return text[:-1] + b',"latency":' + figures + b"}"


def read_metadata(text: str | None) -> dict[str, str | float | bool]:
    """Return the metadata of a call: a flat JSON object, its empty values left out.

    Raises:
        Invalid: The text is no JSON object of texts, numbers and booleans, or too long.
    """
    if not text:
        return {}
    if len(text) > MAX_METADATA_BYTES:
        raise _bad_metadata(f"metadata may hold up to {MAX_METADATA_BYTES:,} characters")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad_metadata("metadata is not JSON") from None
    if not isinstance(values, dict):
        raise _bad_metadata("metadata is not a JSON object")
    for name, value in values.items():
        if not (_is_plain_text(name) and _is_plain(value)):
            raise _bad_metadata("metadata holds plain texts, numbers and booleans only")
    return {name[:200]: value for name, value in values.items() if value not in ("", None)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return _is_plain_text(value)
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _is_plain_text(text: str) -> bool:
    """Tell whether every database can store it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _bad_metadata(message: str) -> Invalid:
    return Invalid(f"The {message}.", [{"pointer": "/metadata", "detail": f"The {message}.", "code": "metadata"}])
