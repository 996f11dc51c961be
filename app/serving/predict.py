"""The prediction route of the wire contract."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from app.contracts.predictions import PredictedShape
from app.core.clock import utc_now
from app.inference import LoadedModel, Prediction, open_picture
from app.registry.heat import explained_class, painted
from app.serving import predictor, wire
from app.serving.access import Access, Endpoint
from app.serving.calls import endpoint_access, read_call
from app.serving.limits import RateLimit
from app.serving.recording import Call, RecordedShape, recorder
from app.serving.references import compared
from app.serving.service import EndpointPaused
from app.serving.wire import shown_shapes
from app.settings import get_settings


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await run_in_threadpool(predictor.close)
    await run_in_threadpool(recorder().close)


router = APIRouter(prefix="/inference/v1", tags=["serving"], lifespan=_lifespan)
_HEAT_SIDE_PX = 512
_limit = RateLimit(get_settings().rate_limit_per_minute)

_PROBLEM: dict[str, Any] = {"content": {"application/problem+json": {}}}
_REFUSALS: dict[int | str, str] = {
    400: "No picture came with the call",
    401: "No valid API key",
    403: "The key belongs to another endpoint",
    404: "No such endpoint",
    409: "The endpoint is paused",
    413: "The picture is too large",
    415: "Not a picture, or a damaged one",
    422: "`endpoint_id` or `metadata` is not valid, or a model that compares was told of no reference image",
    429: "Called too often; see `Retry-After`",
    503: "Busy; see `Retry-After`",
}
_OPENAPI: dict[str, Any] = {
    "parameters": [
        {
            "name": "endpoint_id",
            "in": "query",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
            "description": "The endpoint to call",
        },
        {
            "name": "heat_map",
            "in": "query",
            "required": False,
            "schema": {"type": "boolean", "default": False},
            "description": "Also answer with a heat map of the likeliest defect, at about the time of a second call",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "JPEG, PNG, BMP, WebP or TIFF"},
                        "metadata": {
                            "type": "string",
                            "description": "JSON object: image_id, inspection_station_id, location_id, "
                            "capture_timestamp, or anything flat; `reference` names a reference image of the model",
                        },
                        "reference": {
                            "type": "string",
                            "format": "binary",
                            "description": "What the picture is compared with, for a model that compares and has no "
                            "reference image of its own for it",
                        },
                    },
                }
            }
        },
    },
}


@router.post(
    "/predict",
    name="serving.predict",
    summary="Predict one picture",
    openapi_extra=_OPENAPI,
    responses={
        200: {"description": "The prediction", "content": {"application/json": {}}},
        **{status: {"description": text, **_PROBLEM} for status, text in _REFUSALS.items()},
    },
)
async def predict(request: Request, access: Annotated[Access, Depends(endpoint_access)]) -> Response:
    """Answer what the endpoint's model says of a picture.

    Send the API key in the header `apikey`. `429` and `503` carry `Retry-After`.
    """
    started = time.perf_counter()
    endpoint = access.endpoint
    if not endpoint.is_active:
        raise EndpointPaused("This endpoint is paused. Resume it on its page to use it again.")
    _limit.take(endpoint.id)
    predictor.check_room()
    call = await read_call(request, n_pictures=2 if endpoint.manifest.reference else 1)
    picture = compared(endpoint.manifest, call.picture, reference=call.reference, metadata=call.metadata)
    received = time.perf_counter()
    model = await predictor.load(endpoint.bundle_key)
    loaded = time.perf_counter()
    prediction = await predictor.predictor().predict(model, picture, threshold=endpoint.threshold)
    answered = time.perf_counter()
    heat = await run_in_threadpool(heat_of, endpoint, model, prediction, call.picture) if _wants_heat(request) else None
    body = wire.BODIES[endpoint.manifest.task](endpoint, prediction)
    if heat is not None:
        body["heat_map"] = wire.heat_map(heat)
    latency = {
        "input_conversion_s": received - started,
        "model_loading_s": loaded - received,
        "waiting_s": max(0.0, answered - loaded - prediction.preprocess_s - prediction.infer_s),
        "preprocess_s": prediction.preprocess_s,
        "infer_s": prediction.infer_s,
        "postprocess_s": time.perf_counter() - answered,
    }
    content = wire.encode(body, latency, clock=time.perf_counter)
    recorder().add(
        to_record(
            endpoint,
            prediction,
            picture=call.picture,
            latency_ms=(time.perf_counter() - started) * 1000,
            source="api",
            metadata=call.metadata,
            key_id=access.actor.key_id if access.is_key_use_due else None,
        )
    )
    return Response(content, media_type="application/json")


def _wants_heat(request: Request) -> bool:
    return request.query_params.get("heat_map") in {"true", "1"}


def heat_of(endpoint: Endpoint, model: LoadedModel, prediction: Prediction, picture: bytes) -> bytes | None:
    """Return the heat map of the likeliest defect as a PNG, or None where the model gives none."""
    if endpoint.manifest.heat_name is None:
        return None
    image = open_picture(picture, max_pixels=get_settings().max_image_megapixels * 1_000_000)
    index = explained_class(endpoint.manifest, list(prediction.scores.scores))
    heat = model.explain(image, category_index=index)
    scale = min(1.0, _HEAT_SIDE_PX / max(image.size))
    size_px = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return painted(heat.values, size_px)


def to_record(
    endpoint: Endpoint,
    prediction: Prediction,
    *,
    picture: bytes,
    latency_ms: float,
    source: str,
    metadata: dict[str, Any],
    key_id: Any = None,
) -> Call:
    """Return the line of the history for one answered call."""
    decision = prediction.decision
    categories = endpoint.manifest.categories
    shapes = shown_shapes(endpoint, prediction)
    if endpoint.manifest.task.has_shapes:
        category = categories[shapes[0].category_index] if shapes else None
    else:
        category = categories[decision.category_index]
    return Call(
        deployment_id=endpoint.id,
        model_id=endpoint.model_id,
        at=utc_now(),
        picture=picture,
        category_id=category.id if category else None,
        category_name=category.name if category else "",
        score=decision.score,
        ng_score=decision.ng_score,
        is_unsure=decision.is_unsure,
        scores=list(prediction.scores.scores),
        shapes=_recorded(endpoint, shapes) if endpoint.manifest.task.has_shapes else None,
        threshold=endpoint.threshold,
        latency_ms=latency_ms,
        source=source,
        call_metadata=metadata,
        key_id=key_id,
    )


def _recorded(endpoint: Endpoint, shapes: list[PredictedShape]) -> tuple[RecordedShape, ...]:
    categories = endpoint.manifest.categories
    return tuple(
        RecordedShape(
            name=categories[shape.category_index].name,
            color=categories[shape.category_index].color,
            score=shape.score,
            box=shape.box,
            mask=shape.mask,
        )
        for shape in shapes
    )
