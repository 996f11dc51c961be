"""Where a defect is and what form it has: boxes, polygons and masks. Plain values; no array library.

Every coordinate is in pixels of the original image after its EXIF turn, x to the right, y down, the origin at the outer
corner of the first pixel: pixel (0, 0) covers [0, 1) x [0, 1), and a box of the whole image is (0, 0, width, height).
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MAX_SHAPES = 2_000
"""Most shapes that one image may carry."""

MAX_POINTS = 10_000
"""Most points of one polygon, all of its rings together."""

MAX_COUNTS_CHARS = 1_000_000
"""Longest run-length text of one mask."""

MAX_SIDE_PX = 1_000_000

_COUNTS = re.compile(r"(?:[0-9]{1,12}[ZN])+")
_RUN = re.compile(r"([0-9]+)([ZN])")

Coordinate = Annotated[float, Field(ge=0.0, le=MAX_SIDE_PX, allow_inf_nan=False)]


class Box(BaseModel):
    """A rectangle by its edges: `xmin` and `ymin` inside, `xmax` and `ymax` one past the last pixel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    xmin: Coordinate
    ymin: Coordinate
    xmax: Coordinate
    ymax: Coordinate

    @model_validator(mode="after")
    def _has_an_area(self) -> Self:
        if self.xmin >= self.xmax or self.ymin >= self.ymax:
            raise ValueError("A box needs xmin below xmax and ymin below ymax.")
        return self

    @property
    def bounds(self) -> "Box":
        return self


def _checked_ring(ring: tuple[float, ...]) -> tuple[float, ...]:
    if len(ring) % 2 or len(ring) < 6:
        raise ValueError("A ring is x, y, x, y, ... of three points or more.")
    # Shoelace formula, about the first point for accuracy far from the origin.
    xs, ys = [x - ring[0] for x in ring[0::2]], [y - ring[1] for y in ring[1::2]]
    doubled = math.fsum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))
    # A figure of eight may cancel out, and still has two lobes: only what lies on one line has no area.
    if doubled == 0.0 and _is_flat(xs, ys):
        raise ValueError("A ring needs an area: its points lie on one line.")
    return ring


def _is_flat(xs: Sequence[float], ys: Sequence[float]) -> bool:
    far = max(range(len(xs)), key=lambda i: xs[i] ** 2 + ys[i] ** 2)
    return all(xs[far] * y == ys[far] * x for x, y in zip(xs, ys, strict=True))


Ring = Annotated[tuple[Coordinate, ...], AfterValidator(_checked_ring)]


class Polygon(BaseModel):
    """One outline and its holes, each a ring x, y, x, y, ...; not closed by a repeated point.

    A point is inside where a ray from it crosses the rings an odd number of times: rings within the first make holes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rings: Annotated[tuple[Ring, ...], Field(min_length=1, max_length=1_000)]

    @model_validator(mode="after")
    def _is_not_endless(self) -> Self:
        if sum(len(ring) for ring in self.rings) > 2 * MAX_POINTS:
            raise ValueError(f"A polygon has at most {MAX_POINTS} points.")
        return self

    @property
    def bounds(self) -> Box:
        xs = [x for ring in self.rings for x in ring[0::2]]
        ys = [y for ring in self.rings for y in ring[1::2]]
        return Box(xmin=min(xs), ymin=min(ys), xmax=max(xs), ymax=max(ys))


def _checked_counts(counts: str) -> str:
    """Return the shortest way to write the same runs. Raises `ValueError` for anything but runs of Z and N."""
    if not _COUNTS.fullmatch(counts):
        raise ValueError("A mask is written as runs such as 12Z3N: a count, then Z for outside or N for inside.")
    return write_runs((letter == "N", int(n)) for n, letter in _RUN.findall(counts))


class Mask(BaseModel):
    """The marked pixels of a rectangle, row by row: `counts` is runs `<n>Z` (outside) and `<n>N` (inside).

    `counts` is kept in its shortest form: no empty runs, no two alike beside each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    xmin: Annotated[int, Field(ge=0, le=MAX_SIDE_PX)]
    ymin: Annotated[int, Field(ge=0, le=MAX_SIDE_PX)]
    width: Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
    height: Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
    counts: Annotated[str, Field(max_length=MAX_COUNTS_CHARS), AfterValidator(_checked_counts)]

    @model_validator(mode="after")
    def _fills_its_rectangle(self) -> Self:
        n_pixels = sum(n for _, n in self.runs())
        if n_pixels != self.width * self.height:
            raise ValueError(
                f"The runs of a mask count {n_pixels} pixels, its rectangle has {self.width} x {self.height} = "
                f"{self.width * self.height}."
            )
        if "N" not in self.counts:
            raise ValueError("A mask marks at least one pixel.")
        return self

    def runs(self) -> Iterator[tuple[bool, int]]:
        """Give each run as (is inside, length in pixels), in row-major order."""
        for n, letter in _RUN.findall(self.counts):
            yield letter == "N", int(n)

    @property
    def bounds(self) -> Box:
        """The rectangle, which may be larger than the marked pixels."""
        return Box(xmin=self.xmin, ymin=self.ymin, xmax=self.xmin + self.width, ymax=self.ymin + self.height)


Shape = Box | Polygon | Mask

SHAPE_KINDS: dict[str, type[Box] | type[Polygon] | type[Mask]] = {"box": Box, "polygon": Polygon, "mask": Mask}
"""By the name that stands in `annotation.kind` and in the payloads."""


def write_runs(runs: Iterable[tuple[bool, int]]) -> str:
    """Return runs of (is inside, length in pixels) as `<n>Z<n>N...`, in the shortest form."""
    filled = ((inside, n) for inside, n in runs if n)
    return "".join(
        f"{sum(n for _, n in alike)}{'N' if inside else 'Z'}"
        for inside, alike in groupby(filled, key=lambda run: run[0])
    )


def find_overflow(shape: Shape, *, width_px: int, height_px: int) -> str | None:
    """Return a sentence that says how a shape leaves an image of this size, or None where it lies inside."""
    bounds = shape.bounds
    if bounds.xmax <= width_px and bounds.ymax <= height_px:
        return None
    return (
        f"It reaches to x {bounds.xmax:g}, y {bounds.ymax:g}, outside of the image, which is {width_px} x {height_px} "
        "pixels."
    )
