"""Where found regions and drawn ones part: what is hit, missed and extra, as outlines to lay over a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.contracts.bundle import BundleManifest
from app.contracts.dataset import AnnotationValue
from app.contracts.predictions import PredictedShape
from app.contracts.shapes import Shape
from app.contracts.tasks import TaskType
from app.inference.array_types import Bools
from app.inference.rasters import draw_shape

_LONG_SIDE_PX = 1400  # outlines finer than that are lost on a screen


@dataclass(frozen=True, slots=True)
class BoundaryKind:
    """How one kind of pixels is outlined. `dash` is an SVG dash array, empty for a solid line; `fill` an opacity."""

    name: str
    meaning: str
    color: str
    dash: str
    fill: float


# Source of the colours, which differ to colour-blind eyes too: M. Okabe and K. Ito, Color Universal Design, 2008.
# Nothing rests on colour alone: each kind has a line of its own.
KINDS = (
    BoundaryKind("hit", "drawn and found as the same class", "#56b4e9", "", 0.0),
    BoundaryKind("missed", "drawn, not found as that class", "#f0e442", "1.5 2.5", 0.28),
    BoundaryKind("extra", "found, not drawn as that class", "#d55e00", "7 3", 0.28),
)


def kinds_of(task: TaskType) -> tuple[BoundaryKind, ...]:
    """Return what the boundaries of a task's models consist of: nothing where finds are no pixels."""
    return KINDS if task is TaskType.SEGMENTATION else ()


def boundaries_svg(
    manifest: BundleManifest,
    drawn: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    *,
    size: tuple[int, int],
    threshold: float,
) -> str:
    """Return an SVG of the image's size (width, height) with one outline for each of `KINDS` that there is.

    Args:
        manifest: The model's.
        drawn: `AnnotationValue`s as the database holds them.
        found: `PredictedShape`s as the database holds them; those from the threshold on count.
        size: Of the image, px.
        threshold: In [0, 1].
    """
    width, height = size
    step = -(-max(size) // _LONG_SIDE_PX)
    parts = _parts(manifest, drawn, found, size, threshold, step)
    lines = [_line(kind, _outline(pixels, step)) for kind, pixels in zip(KINDS, parts, strict=True)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"{''.join(lines)}</svg>"
    )


def _line(kind: BoundaryKind, path: str) -> str:
    if not path:
        return ""
    shape = f'<path d="{path}" fill-rule="evenodd" stroke-linejoin="round" vector-effect="non-scaling-stroke"'
    halo = f'fill="{kind.color}" fill-opacity="{kind.fill}" stroke="#111418" stroke-opacity="0.75" stroke-width="4"'
    dash = f' stroke-dasharray="{kind.dash}"' if kind.dash else ""
    return f'{shape} {halo}/>{shape} fill="none" stroke="{kind.color}" stroke-width="2"{dash}/>'


def _parts(
    manifest: BundleManifest,
    drawn: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    threshold: float,
    step: int,
) -> tuple[Bools, Bools, Bools]:
    """Return the pixels (H, W) of each kind, every `step`-th of them in both directions."""
    place = {category.id: index for index, category in enumerate(manifest.categories, start=1)}
    labels = [AnnotationValue.model_validate(one) for one in drawn]
    finds = [PredictedShape.model_validate(one) for one in reversed(found) if one["score"] >= threshold]
    truth = _map(
        [(one.shape, place[one.category_id]) for one in labels if one.shape and one.category_id in place], size
    )
    answer = _map([(one.mask or one.box, one.category_index + 1) for one in finds], size)
    truth, answer = truth[::step, ::step], answer[::step, ::step]
    is_same = truth == answer
    return (truth > 0) & is_same, (truth > 0) & ~is_same, (answer > 0) & ~is_same


def _map(shapes: Sequence[tuple[Shape, int]], size: tuple[int, int]) -> np.ndarray:
    """Return the class of every pixel (H, W), 0 for none; of shapes that overlap, the later counts."""
    canvas = np.zeros(size[::-1], dtype=np.uint8)
    for shape, value in shapes:
        draw_shape(shape, canvas, value)
    return canvas


def _outline(pixels: Bools, step: int) -> str:
    """Return the outline of pixels as an SVG path in pixels of the image; empty where there are none."""
    if not pixels.any():
        return ""
    import cv2  # takes a tenth of a second to load

    rings, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return "".join(f"M{' '.join(f'{value:g}' for value in ((ring.ravel() + 0.5) * step).tolist())}z" for ring in rings)
