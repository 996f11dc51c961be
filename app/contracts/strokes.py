"""What a person paints to show, not to label: a few strokes of a class, or of what is none of the classes."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.contracts.shapes import Coordinate

MAX_STROKES = 400
"""Most strokes of one image."""

MAX_STROKE_POINTS = 2_000
"""Most points of one stroke."""

MAX_POINTS = 20_000
"""Most points of all strokes of one image."""


def _countable(points: Any) -> Any:
    """Count numbers before each is looked at."""
    if isinstance(points, list | tuple) and len(points) > 2 * MAX_STROKE_POINTS:
        raise PydanticCustomError("too_many", "A stroke has at most {most} points.", {"most": f"{MAX_STROKE_POINTS:,}"})
    return points


def _paired(points: tuple[float, ...]) -> tuple[float, ...]:
    if not points or len(points) % 2:
        raise ValueError("A stroke is x, y, x, y, ... of one point or more.")
    return points


class Stroke(BaseModel):
    """A line drawn with a round brush. `points` is x, y, x, y, ... in pixels of the image; one point is a dab.

    Without a class it says of what it covers that it is none of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    category_id: int | None
    radius_px: Annotated[float, Field(ge=0.5, le=1_000.0, allow_inf_nan=False)]
    points: Annotated[tuple[Coordinate, ...], BeforeValidator(_countable), AfterValidator(_paired)]


def bounded(strokes: Any) -> Any:
    """Count strokes and their points before each is looked at, so that a million is refused at once, and with words."""
    if isinstance(strokes, list):
        if len(strokes) > MAX_STROKES:
            sentence = "An image takes at most {most} strokes; these are {n}."
            raise PydanticCustomError("too_many", sentence, {"most": f"{MAX_STROKES:,}", "n": f"{len(strokes):,}"})
        points = [one.get("points") for one in strokes if isinstance(one, dict)]
        if sum(len(one) for one in points if isinstance(one, list)) > 2 * MAX_POINTS:
            sentence = "The strokes of an image have at most {most} points together."
            raise PydanticCustomError("too_many", sentence, {"most": f"{MAX_POINTS:,}"})
    return strokes


def find_outside(strokes: Sequence[Stroke], *, width_px: int, height_px: int) -> tuple[int, str] | None:
    """Return the number of the first stroke that leaves an image of this size, and a sentence; None: all lie inside."""
    for number, stroke in enumerate(strokes):
        right, bottom = max(stroke.points[0::2]), max(stroke.points[1::2])
        if right > width_px or bottom > height_px:
            return number, f"It reaches to x {right:g}, y {bottom:g}; the image is {width_px} x {height_px} pixels."
    return None
