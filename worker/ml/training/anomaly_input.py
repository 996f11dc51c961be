"""How the pictures of an anomaly project become the network's input: its shape, their scale and their brightness."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from app.catalog import BackboneCard
from app.contracts.bundle import Preprocessing
from app.contracts.dataset import DatasetItem
from app.contracts.jobs import TrainSpec
from app.inference.preprocess import mean_grey

DEFAULT_SIDE_PX = 512
_STEP_PX = 32  # the coarsest stride of a backbone: a multiple leaves no half cells
_SAME_SHAPE = 1.2
_LARGE = 98  # per cent of the pictures that fit the input at the common scale
_SAME_EXPOSURE = 1.4
_NEARLY_SAME = 1.25
_N_LOOKED_AT = 48


def plan_input(
    items: Sequence[DatasetItem],
    spec: TrainSpec,
    card: BackboneCard,
    *,
    open_picture: Callable[[DatasetItem], Image.Image],
) -> Preprocessing:
    """Return an input with about as many pixels as a square of the wanted side, in the shape of the good pictures.

    Pictures of one shape fill it. Pictures of many shapes are taken for cuts of different parts by one camera: all are
    drawn at one scale, since a texture drawn larger is another texture to the network. Where exposure differs between
    good pictures, brightness says nothing about a part and is taken out.

    Args:
        items: Good images of the train split, one at least.
        spec: Its size is the side of a square of as many pixels; `stretch` asks for that square.
        card: The backbone.
        open_picture: Opens one; those that fail are passed over.
    """
    side = _rounded(spec.image_size_px or DEFAULT_SIDE_PX, up=True)
    sizes = np.array([(item.width_px, item.height_px) for item in items], dtype=np.float64).clip(min=1.0)
    low, high = np.percentile(sizes[:, 0] / sizes[:, 1], [5, 95])
    is_one_shape = high <= _SAME_SHAPE * low
    large = np.median(sizes, axis=0) if is_one_shape else np.percentile(sizes, _LARGE, axis=0)
    width, height = (side, side) if spec.resize == "stretch" else _sides(large, side)
    is_stretched = spec.resize == "stretch" or (spec.resize == "auto" and is_one_shape)
    brightness = _common_brightness(items, open_picture)
    return Preprocessing(
        width_px=width,
        height_px=height,
        resize="stretch" if is_stretched else "letterbox",
        resample=card.resample,
        max_scale=None if is_stretched or is_one_shape else _scale(width, height, large),
        brightness=brightness,
        pad_value=round(brightness) if brightness else 128,
        mean=card.mean,
        std=card.std,
    )


def _sides(large: np.ndarray, side: int) -> tuple[int, int]:
    """Return the width and height of an input in the shape of `large`, (width, height), of about side x side pixels."""
    width, height = large * side / np.sqrt(large.prod())
    return _rounded(width), _rounded(height)


def _scale(width: int, height: int, large: np.ndarray) -> float:
    """Return pixels of the input for one of a picture: 1 where that is near, since resampling blurs a fine texture."""
    scale = float(min(width / large[0], height / large[1]))
    return 1.0 if 1.0 < scale < _NEARLY_SAME else scale


def _rounded(length: float, *, up: bool = False) -> int:
    steps = length / _STEP_PX
    return _STEP_PX * max(1, int(np.ceil(steps)) if up else round(steps))


def _common_brightness(
    items: Sequence[DatasetItem], open_picture: Callable[[DatasetItem], Image.Image]
) -> float | None:
    """Return the median of the mean grey levels where the brightest tenth is well above the darkest, else nothing."""
    step = max(1, len(items) // _N_LOOKED_AT)
    greys = []
    for item in items[::step]:
        try:
            greys.append(max(1.0, mean_grey(open_picture(item))))
        except Exception:  # noqa: BLE001, S112 - it is reported where all images are read
            continue
    if not greys:
        return None
    dark, middle, bright = np.percentile(greys, [10, 50, 90])
    return float(middle) if bright > _SAME_EXPOSURE * dark else None
