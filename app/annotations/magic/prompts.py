"""What a hand gives: clicks, strokes and boxes, each to add something or to take it away."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.contracts.shapes import Box, Coordinate
from app.core.errors import Invalid

MAX_PROMPTS = 24
MAX_POINTS = 200

Point = tuple[Coordinate, Coordinate]


class Prompt(BaseModel):
    """One gesture: points (a click is one, a stroke several) or a box, in pixels of the image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    takes: bool = False
    points: Annotated[tuple[Point, ...], Field(max_length=MAX_POINTS)] = ()
    box: Box | None = None

    @model_validator(mode="after")
    def _is_one_gesture(self) -> Self:
        if bool(self.points) == (self.box is not None):
            raise ValueError("Give the points of a click or a stroke, or a box.")
        return self

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The smallest rectangle around it: left, top, right, bottom; a click's has no extent."""
        if self.box is not None:
            return self.box.xmin, self.box.ymin, self.box.xmax, self.box.ymax
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        return min(xs), min(ys), max(xs), max(ys)


class MagicBody(BaseModel):
    """The gestures so far, in their order, and the part of the image that the person sees.

    How much is seen says how large the thing may be: nobody clicks at what is three pixels large on the screen.
    """

    model_config = ConfigDict(extra="forbid")

    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_PROMPTS)]
    view: Box | None = None


def check_inside(prompts: Sequence[Prompt], *, width_px: int, height_px: int) -> None:
    """Raise `Invalid` for a gesture that leaves an image of this size."""
    for number, prompt in enumerate(prompts):
        _, _, right, bottom = prompt.bounds
        if right > width_px or bottom > height_px:
            detail = f"It reaches to x {right:g}, y {bottom:g}; the image is {width_px} x {height_px} pixels."
            raise Invalid(detail, [{"pointer": f"/prompts/{number}", "detail": detail, "code": "outside"}])
