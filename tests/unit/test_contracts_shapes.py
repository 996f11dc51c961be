"""Boxes, polygons and masks: what is a shape, what is refused, and with which words."""

import math
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import (
    MAX_COUNTS_CHARS,
    MAX_POINTS,
    SHAPE_KINDS,
    Box,
    Mask,
    Polygon,
    find_overflow,
    write_runs,
)

SQUARE = (0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.5, 1e9])
def test_a_box_has_finite_edges_inside_the_quadrant(bad: float) -> None:
    with pytest.raises(ValidationError):
        Box(xmin=bad, ymin=0, xmax=10, ymax=10)
    with pytest.raises(ValidationError):
        Box(xmin=0, ymin=0, xmax=10, ymax=bad)


@pytest.mark.parametrize(("xmax", "ymax"), [(5, 10), (10, 5), (4, 10), (10, 4)])
def test_a_box_without_area_is_refused(xmax: float, ymax: float) -> None:
    with pytest.raises(ValidationError, match="xmin below xmax"):
        Box(xmin=5, ymin=5, xmax=xmax, ymax=ymax)


def test_a_box_may_reach_the_image_edge_and_no_further() -> None:
    assert find_overflow(Box(xmin=0, ymin=0, xmax=640, ymax=480), width_px=640, height_px=480) is None
    words = find_overflow(Box(xmin=0, ymin=0, xmax=640.5, ymax=480), width_px=640, height_px=480)
    assert words is not None
    assert "640.5" in words
    assert "640 x 480" in words


def test_members_that_no_shape_has_are_refused() -> None:
    with pytest.raises(ValidationError):
        Box.model_validate({"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1, "angle": 3})


def test_a_polygon_knows_its_bounds_with_holes() -> None:
    hole = (2.0, 2.0, 4.0, 2.0, 3.0, 4.0)
    assert Polygon(rings=(SQUARE, hole)).bounds == Box(xmin=0, ymin=0, xmax=10, ymax=10)


@pytest.mark.parametrize(
    "ring",
    [(), (0, 0, 1, 1), (0, 0, 1, 1, 2), (0, 0, 1, 1, 2, 2, 3, 3), (5, 5, 5, 5, 5, 5), (0, 0, math.nan, 1, 2, 0)],
    ids=["empty", "two points", "odd", "on one line", "one point", "nan"],
)
def test_a_ring_needs_three_points_and_an_area(ring: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Polygon(rings=(ring,))


def test_a_figure_of_eight_has_an_area() -> None:
    Polygon(rings=((0, 0, 10, 10, 10, 0, 0, 10),))


def test_a_polygon_without_rings_or_with_too_many_points_is_refused() -> None:
    with pytest.raises(ValidationError):
        Polygon(rings=())
    endless = tuple(float(value) for i in range(MAX_POINTS + 1) for value in (i, i % 2))
    with pytest.raises(ValidationError, match=str(MAX_POINTS)):
        Polygon(rings=(endless,))


def test_mask_counts_that_do_not_sum_are_refused_with_both_figures() -> None:
    with pytest.raises(ValidationError, match=r"count 11 pixels.*4 x 3 = 12"):
        Mask(xmin=0, ymin=0, width=4, height=3, counts="8Z3N")


@pytest.mark.parametrize("counts", ["", "12", "Z", "3X9Z", "-1Z13N", "12N ", "1.5N", "12n"])
def test_mask_counts_are_runs_of_z_and_n(counts: str) -> None:
    with pytest.raises(ValidationError):
        Mask(xmin=0, ymin=0, width=4, height=3, counts=counts)


def test_an_empty_mask_and_an_endless_one_are_refused() -> None:
    with pytest.raises(ValidationError, match="at least one pixel"):
        Mask(xmin=0, ymin=0, width=4, height=3, counts="12Z")
    with pytest.raises(ValidationError, match="at most"):
        Mask(xmin=0, ymin=0, width=1000, height=1000, counts="1Z1N" * (MAX_COUNTS_CHARS // 4 + 1))


def test_a_mask_is_kept_in_its_shortest_form() -> None:
    assert Mask(xmin=0, ymin=0, width=4, height=3, counts="0N2Z3Z0N3N4N0Z").counts == "5Z7N"


@given(st.lists(st.booleans(), min_size=1, max_size=200).filter(any))
def test_runs_written_are_the_runs_read(pixels: list[bool]) -> None:
    counts = write_runs((inside, len(list(alike))) for inside, alike in groupby(pixels))
    mask = Mask(xmin=3, ymin=4, width=len(pixels), height=1, counts=counts)
    assert [inside for inside, n in mask.runs() for _ in range(n)] == pixels
    assert mask.counts == counts


def test_an_annotation_has_one_shape_at_most() -> None:
    box = Box(xmin=0, ymin=0, xmax=1, ymax=1)
    polygon = Polygon(rings=(SQUARE,))
    assert AnnotationValue(category_id=1).shape is None
    assert AnnotationValue(category_id=1).kind == "class"
    assert AnnotationValue(category_id=1, box=box).shape == box
    assert AnnotationValue(category_id=1, polygon=polygon).kind == "polygon"
    with pytest.raises(ValidationError, match="one shape"):
        AnnotationValue(category_id=1, box=box, polygon=polygon)


@pytest.mark.parametrize("kind", SHAPE_KINDS)
def test_each_shape_comes_back_from_json_as_it_was(kind: str) -> None:
    shape = {
        "box": Box(xmin=0.25, ymin=1, xmax=7.5, ymax=3),
        "polygon": Polygon(rings=(SQUARE, (1, 1, 2, 1, 2, 2.5))),
        "mask": Mask(xmin=1, ymin=2, width=2, height=2, counts="1Z2N1Z"),
    }[kind]
    value = AnnotationValue.model_validate({"category_id": 3, kind: shape.model_dump(mode="json")})
    assert AnnotationValue.model_validate_json(value.model_dump_json()) == value
    assert (value.kind, value.shape) == (kind, shape)
