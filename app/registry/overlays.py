"""Drawn shapes and finds as outlines to lay over a picture. A path is in pixels of the image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.contracts.bundle import BundleManifest
from app.contracts.dataset import AnnotationValue
from app.contracts.predictions import PredictedShape
from app.contracts.shapes import Box, Mask, Polygon, Shape

_MOST_ROWS = 160  # of a mask's outline: finer ones are lost on a screen


@dataclass(frozen=True, slots=True)
class OverlayShape:
    """One outline.

    Attributes:
        name: Of the class.
        color: Of the class, `#rrggbb`.
        path: The outline as an SVG path, even-odd.
        x: Where its label stands, at its left edge.
        y: The same, its upper edge.
        score: None for what a person drew.
        state: `right`, `missed` (drawn), `extra` (found), `mixed` (found, drawn as another class), or empty where
            nobody drew.
    """

    name: str
    color: str
    path: str
    x: float
    y: float
    score: float | None
    state: str

    @property
    def is_drawn(self) -> bool:
        return self.score is None


def overlay_of(
    manifest: BundleManifest,
    found: Sequence[Mapping[str, Any]],
    drawn: Sequence[Mapping[str, Any]] = (),
    *,
    threshold: float,
    is_labelled: bool = False,
) -> tuple[OverlayShape, ...]:
    """Return what is drawn and what is found at or above a threshold, the best find first.

    Args:
        manifest: The model's: names and colours as it knew them.
        found: `PredictedShape`s with the members of their `ShapeMatch`, as the database holds them.
        drawn: `AnnotationValue`s as the database holds them.
        threshold: In [0, 1].
        is_labelled: A person looked at the image: a find without a drawn shape is too many.
    """
    by_id = {category.id: category for category in manifest.categories}
    shown = [one for one in found if one["score"] >= threshold]
    right = {one["own"] for one in shown if one.get("own") is not None}
    out = []
    for place, one in enumerate(drawn):
        value = AnnotationValue.model_validate(one)
        if value.shape is not None and (category := by_id.get(value.category_id)) is not None:
            state = "right" if place in right else "missed"
            out.append(outline(category.name, category.color, value.shape, None, state))
    for one in shown:
        category, shape = manifest.categories[one["category_index"]], PredictedShape.model_validate(one)
        state = _state(one) if is_labelled else ""
        out.append(outline(category.name, category.color, shape.mask or shape.box, shape.score, state))
    return tuple(out)


def _state(found: Mapping[str, Any]) -> str:
    if found.get("own") is not None:
        return "right"
    return "extra" if found.get("any") is None else "mixed"


def note_of(overlay: Sequence[OverlayShape]) -> str:
    """Return what is wrong with an image in a few words, or what is right."""
    n_missed = sum(one.state == "missed" for one in overlay)
    n_extra = sum(one.state in {"extra", "mixed"} for one in overlay)
    wrong = [f"{n} {word}" for n, word in ((n_missed, "missed"), (n_extra, "extra")) if n]
    n_found = sum(not one.is_drawn for one in overlay)
    return ", ".join(wrong) or (f"{n_found} found" if n_found else "nothing found")


def outline(name: str, color: str, shape: Shape, score: float | None, state: str = "") -> OverlayShape:
    """Return one shape; `score` is None for what a person drew."""
    bounds = shape.bounds
    return OverlayShape(name, color, svg_path(shape), bounds.xmin, bounds.ymin, score, state)


def svg_path(shape: Shape) -> str:
    """Return an outline as an SVG path; of a mask its rows, or every so many of them where it has many."""
    match shape:
        case Box():
            width, height = shape.xmax - shape.xmin, shape.ymax - shape.ymin
            return f"M{shape.xmin:g} {shape.ymin:g}h{width:g}v{height:g}h{-width:g}z"
        case Polygon():
            return "".join(f"M{' '.join(f'{value:g}' for value in ring)}z" for ring in shape.rings)
        case Mask():
            return _rows(shape)


def _rows(mask: Mask) -> str:
    step = -(-mask.height // _MOST_ROWS)
    pieces, place = [], 0
    for is_inside, n_pixels in mask.runs():
        end = place + n_pixels
        while is_inside and place < end:
            row, left = divmod(place, mask.width)
            right = min(mask.width, left + end - place)
            if row % step == 0:
                height = min(step, mask.height - row)
                pieces.append(f"M{mask.xmin + left} {mask.ymin + row}h{right - left}v{height}h{left - right}z")
            place += right - left
        place = end
    return "".join(pieces)
