"""At what size a network reads: from how large its images are, and how large what people drew on them is."""

from collections.abc import Sequence

import numpy as np

from app.catalog import BackboneCard
from app.contracts.bundle import Preprocessing, Tiling
from app.contracts.dataset import DatasetItem
from app.contracts.jobs import TrainSpec

# The finest level of a detector has a point every 8 px: the smallest tenth of the boxes shall span three of them.
SMALL_BOX_PX = 24.0
_STEP_PX = 32  # the coarsest level's stride: a multiple leaves no half cells
_MIN_PX, _MAX_PX = 128, 640
_TILE_PX = 512  # input side of one window, where a picture has to be cut
_MIN_OVERLAP, _MAX_OVERLAP = 0.15, 0.4  # share of a window's side
_MAX_WINDOWS = 64  # of one picture; beyond it, pictures are made smaller instead
_SQUARE = 1.1


def plan_input(
    items: Sequence[DatasetItem], spec: TrainSpec, card: BackboneCard, *, small_px: float = SMALL_BOX_PX
) -> tuple[Preprocessing, Tiling | None]:
    """Return how pictures become the network's input.

    Pictures are read whole where that leaves the smallest tenth of what is drawn at least `small_px` large within
    640 px, and in overlapping windows where it does not.
    """
    longest = float(np.median([max(item.width_px, item.height_px) for item in items]))
    small, large = _drawn_sides(items)
    scale = max(small_px / small, min(1.0, card.input_px / longest))
    wanted = longest * scale
    if spec.image_size_px is not None:
        return _preprocessing(items, spec, card, _rounded(spec.image_size_px, most=1024)), None
    if wanted <= _MAX_PX:
        return _preprocessing(items, spec, card, _rounded(wanted)), None
    side = round(_TILE_PX / scale)
    overlap = round(float(np.clip(large / side, _MIN_OVERLAP, _MAX_OVERLAP)) * side)
    # So many windows that a prediction would take seconds: larger ones, and smaller things in them.
    n_a_side = 1 + max(0.0, longest - side) / (side - overlap)
    if n_a_side**2 > _MAX_WINDOWS:
        grow = n_a_side / _MAX_WINDOWS**0.5
        side, overlap = round(side * grow), round(overlap * grow)
    return _preprocessing(items, spec, card, _TILE_PX), Tiling(side_px=max(32, side), overlap_px=overlap)


def _drawn_sides(items: Sequence[DatasetItem]) -> tuple[float, float]:
    """Return the side of the smallest tenth and the long side of the largest twentieth of the boxes, in pixels."""
    bounds = [one.shape.bounds for item in items for one in item.annotations if one.shape is not None]
    sides = np.array([(box.xmax - box.xmin, box.ymax - box.ymin) for box in bounds]).reshape(-1, 2)
    if not len(sides):
        return float("inf"), 0.0
    return float(np.quantile(np.sqrt(sides.prod(axis=1)), 0.1)), float(np.quantile(sides.max(axis=1), 0.95))


def _preprocessing(items: Sequence[DatasetItem], spec: TrainSpec, card: BackboneCard, side_px: int) -> Preprocessing:
    ratios = [max(item.width_px, item.height_px) / min(item.width_px, item.height_px) for item in items]
    is_square = float(np.quantile(ratios, 0.9)) <= _SQUARE
    chosen = spec.resize if spec.resize != "auto" else "stretch" if is_square else "letterbox"
    return Preprocessing(
        width_px=side_px, height_px=side_px, resize=chosen, resample=card.resample, mean=card.mean, std=card.std
    )


def _rounded(side_px: float, *, most: int = _MAX_PX) -> int:
    return int(np.clip(round(side_px / _STEP_PX) * _STEP_PX, _MIN_PX if side_px >= _MIN_PX else _STEP_PX, most))
