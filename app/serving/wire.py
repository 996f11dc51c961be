"""Bodies of the prediction route, as the published clients read them."""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import orjson

from app.contracts.bundle import BundleManifest
from app.contracts.predictions import Decision
from app.contracts.tasks import TaskType
from app.core.errors import AppError, Invalid
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


def classification_body(
    endpoint: Endpoint, decision: Decision, scores: tuple[float, ...], *, threshold: float
) -> dict[str, Any]:
    """Return the answer of a model of classification or anomaly detection, without its latency.

    The clients read `backbonetype`, `predictions` and `type`; everything after `model_id` is ours, and they ignore it.
    """
    categories = endpoint.manifest.categories
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
        "scores": score_list(endpoint.manifest, scores),
        "ng_score": decision.ng_score,
        "is_unsure": decision.is_unsure,
        "threshold": threshold,
        **({"anomaly_score": decision.ng_score} if is_anomaly else {}),
    }


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
