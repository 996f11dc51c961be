"""Try: one picture from the browser through the engine that serves programs, with the heat map beside the answer."""

import base64
import io
import time
from dataclasses import dataclass
from uuid import UUID

from PIL import Image

from app.accounts.permissions import Actor
from app.core.errors import PayloadTooLarge
from app.db.session import new_session
from app.inference import LoadedModel, Prediction, open_picture
from app.registry.heat import explained_class, painted
from app.registry.overlays import OverlayShape, overlay_of
from app.serving import access, predictor
from app.serving.access import Endpoint
from app.serving.predict import to_record
from app.serving.recording import recorder
from app.serving.references import PART, compared
from app.settings import get_settings

_SHOWN_SIDE_PX = 560
_MOST_BELOW = 5  # finds under the threshold that are named


@dataclass(frozen=True, slots=True)
class ClassScore:
    """The score of one class. `is_answer`: this class is what the model answers at the endpoint's threshold."""

    name: str
    color: str
    score: float
    is_answer: bool


@dataclass(frozen=True, slots=True)
class Tried:
    """What Try shows, whatever the task. `picture` is a data address; `judgement` is `ok`, `unsure` or `ng`."""

    judgement: str
    threshold: float
    picture: str
    width_px: int
    height_px: int
    shown_width_px: int
    shown_height_px: int
    latency_ms: float
    preprocess_ms: float
    infer_ms: float


@dataclass(frozen=True, slots=True)
class TriedClasses:
    """The answer for the image as a whole. `heat` is a data address, None where the model gives no map."""

    common: Tried
    answer: ClassScore
    ng_score: float | None
    classes: list[ClassScore]
    heat: str | None
    heat_class: str | None
    template = "partials/serving/_try_classes.html"


@dataclass(frozen=True, slots=True)
class TriedShapes:
    """What was found on the picture: `shapes` at or above the threshold, `below` the best of the others."""

    common: Tried
    best_score: float
    shapes: tuple[OverlayShape, ...]
    below: tuple[OverlayShape, ...]
    template = "partials/serving/_try_shapes.html"


TryResult = TriedClasses | TriedShapes


def try_picture(
    *,
    actor: Actor,
    project_id: int,
    deployment_id: UUID,
    picture: bytes,
    reference: bytes | None = None,
    reference_key: str = "",
) -> TryResult:
    """Predict one picture and record it with the source `try`. Opens and ends its own session; blocks meanwhile.

    A model that compares gets a reference image with it, or the key of one that it has.

    A paused endpoint answers here too: one tries before one resumes.

    Raises:
        NotFound: No such endpoint, or the actor may not see it.
        PayloadTooLarge: More bytes than a picture may have.
        NotAPicture: The bytes are no format that is read.
        BrokenPicture: The file is damaged.
        PictureTooLarge: Too many pixels.
        Unavailable: Too much waits already.
        ReferenceMissing: The model compares, and nothing says what with.
        ReferenceMismatch: The reference has other proportions than the picture.
    """
    settings = get_settings()
    if max(len(picture), len(reference or b"")) > settings.max_image_mb * 1_000_000:
        raise PayloadTooLarge(f"A picture may hold up to {settings.max_image_mb} MB.")
    with new_session() as session:
        endpoint = access.find_endpoint(session, actor, deployment_id)
    if endpoint.project_id != project_id:
        raise access.no_such_endpoint()
    named = {PART: reference_key} if reference_key else {}
    shown = compared(endpoint.manifest, picture, reference=reference, metadata=named)
    model = predictor.open_model(endpoint.bundle_key)
    started = time.perf_counter()
    prediction = predictor.predictor().submit(model, shown, threshold=endpoint.threshold).result()
    latency_ms = (time.perf_counter() - started) * 1000
    recorder().add(
        to_record(endpoint, prediction, picture=picture, latency_ms=latency_ms, source="try", metadata=named)
    )
    return _result(endpoint, model, prediction, picture, latency_ms)


def _result(
    endpoint: Endpoint, model: LoadedModel, prediction: Prediction, picture: bytes, latency_ms: float
) -> TryResult:
    max_pixels = get_settings().max_image_megapixels * 1_000_000
    image = open_picture(picture, max_pixels=max_pixels)
    shown = image.convert("RGB")
    shown.thumbnail((_SHOWN_SIDE_PX, _SHOWN_SIDE_PX))
    decision = prediction.decision
    is_ng = decision.ng_score is not None and decision.ng_score >= endpoint.threshold
    common = Tried(
        judgement="ng" if is_ng else "unsure" if decision.is_unsure else "ok",
        threshold=endpoint.threshold,
        picture=_address(_webp(shown), "webp"),
        width_px=image.width,
        height_px=image.height,
        shown_width_px=shown.width,
        shown_height_px=shown.height,
        latency_ms=latency_ms,
        preprocess_ms=prediction.preprocess_s * 1000,
        infer_ms=prediction.infer_s * 1000,
    )
    if endpoint.manifest.task.has_shapes:
        return _shapes(endpoint, prediction, common)
    return _classes(endpoint, model, prediction, common, image)


def _classes(
    endpoint: Endpoint, model: LoadedModel, prediction: Prediction, common: Tried, image: Image.Image
) -> TriedClasses:
    decision = prediction.decision
    classes = [
        ClassScore(category.name, category.color, score, index == decision.category_index)
        for index, (category, score) in enumerate(
            zip(endpoint.manifest.categories, prediction.scores.scores, strict=True)
        )
    ]
    size_px = (common.shown_width_px, common.shown_height_px)
    heat, heat_class = _heat(endpoint, model, prediction, image, size_px)
    return TriedClasses(
        common=common,
        answer=classes[decision.category_index],
        ng_score=decision.ng_score,
        classes=sorted(classes, key=lambda entry: -entry.score),
        heat=heat,
        heat_class=heat_class,
    )


def _shapes(endpoint: Endpoint, prediction: Prediction, common: Tried) -> TriedShapes:
    found = [shape.model_dump(exclude_none=True) for shape in prediction.shapes]
    every = overlay_of(endpoint.manifest, found, threshold=0.0)
    shown = [shape for shape in every if shape.score is not None and shape.score >= endpoint.threshold]
    return TriedShapes(
        common=common,
        best_score=prediction.decision.ng_score or 0.0,
        shapes=tuple(shown),
        below=every[len(shown) : len(shown) + _MOST_BELOW],
    )


def _heat(
    endpoint: Endpoint, model: LoadedModel, prediction: Prediction, image: Image.Image, size_px: tuple[int, int]
) -> tuple[str | None, str | None]:
    """Return the heat map as an address, and the class that it shows: the likeliest defect, or class."""
    if endpoint.manifest.heat_name is None:
        return None, None
    index = explained_class(endpoint.manifest, list(prediction.scores.scores))
    heat = model.explain(image, category_index=index)
    return _address(painted(heat.values, size_px), "png"), endpoint.manifest.categories[index].name


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=88)
    return out.getvalue()


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
