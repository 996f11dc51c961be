"""From a picture of any kind to the network's pixels: resized bytes (H, W, 3), RGB.

Normalisation is not done here: it is part of the compiled model, which reads bytes, a quarter of the memory traffic.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageStat

from app.contracts.bundle import Preprocessing
from app.contracts.reference import ONLY_KEY
from app.core.pictures import DEFAULT_MAX_PIXELS, decode, to_array

Plain = bytes | Path | Image.Image | np.ndarray
"""One picture: a file, its bytes, or decoded."""


@dataclass(frozen=True)
class Compared:
    """A picture for a model that compares, with its reference.

    `reference` is a picture too, or None where the model's bundle has it; `key` then says which of the bundle's.
    """

    picture: Plain
    reference: Plain | None = None
    key: str | None = ONLY_KEY


Picture = Plain | Compared

_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def open_picture(
    picture: Picture, *, max_pixels: int = DEFAULT_MAX_PIXELS, at_least_px: int | None = None
) -> Image.Image:
    """Return a decoded 8-bit picture, grey or RGB.

    Arrays are taken as they are: (H, W) grey or (H, W, 3) RGB, uint8. A picture that comes with its reference is joined
    with it: see `app.inference.reference`.

    Raises:
        NotAPicture: The bytes are no format that is read.
        BrokenPicture: The file is damaged.
        PictureTooLarge: More than `max_pixels`.
        ReferenceMismatch: A reference has other proportions than its picture.
    """
    if isinstance(picture, Compared):
        from app.inference.reference import compare

        if picture.reference is None:
            raise TypeError("the reference is in the bundle of a model: let that model open the picture")
        # Whole: what differs must be compared pixel by pixel.
        return compare(*(open_picture(one, max_pixels=max_pixels) for one in (picture.picture, picture.reference)))
    if isinstance(picture, bytes | Path):
        return decode(picture, max_pixels=max_pixels, at_least_px=at_least_px)
    if isinstance(picture, np.ndarray):
        return Image.fromarray(np.ascontiguousarray(picture, dtype=np.uint8))
    return picture if picture.mode in {"L", "RGB"} else picture.convert("RGB")


def to_pixels(picture: Picture, preprocessing: Preprocessing, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Decode and resize a picture to the network's input, (height_px, width_px, 3) uint8.

    Raises:
        NotAPicture: The bytes are no format that is read.
        BrokenPicture: The file is damaged.
        PictureTooLarge: More than `max_pixels`.
    """
    # A JPEG decoded at twice the needed size still leaves the resize a full octave to smooth over.
    # Where the scale counts from the picture's own pixels, they must all be there.
    at_least_px = 2 * max(preprocessing.width_px, preprocessing.height_px) if preprocessing.max_scale is None else None
    image = open_picture(picture, max_pixels=max_pixels, at_least_px=at_least_px)
    resized = (
        _letterboxed(image, preprocessing)
        if preprocessing.resize == "letterbox"
        else _drawn(image, (preprocessing.width_px, preprocessing.height_px), preprocessing)
    )
    return to_array(resized)


def _drawn(image: Image.Image, size: tuple[int, int], preprocessing: Preprocessing) -> Image.Image:
    resized = image if image.size == size else image.resize(size, _RESAMPLE[preprocessing.resample])
    return resized if preprocessing.brightness is None else _exposed(resized, preprocessing.brightness)


def _exposed(image: Image.Image, brightness: float) -> Image.Image:
    """Bring the mean grey level to `brightness` by one factor for all channels, as another exposure would."""
    gain = brightness / max(1.0, mean_grey(image))
    return image.point([min(255, round(gain * value)) for value in range(256)] * len(image.getbands()))


def mean_grey(image: Image.Image) -> float:
    """Return the mean grey level of a picture, 0 to 255."""
    return float(ImageStat.Stat(image.convert("L")).mean[0])


def letterbox_box(width_px: int, height_px: int, preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """Return where the picture lies in the network's input: left, top, width, height in pixels."""
    scale = min(preprocessing.width_px / width_px, preprocessing.height_px / height_px)
    scale = scale if preprocessing.max_scale is None else min(scale, preprocessing.max_scale)
    inner_width = max(1, min(preprocessing.width_px, round(width_px * scale)))
    inner_height = max(1, min(preprocessing.height_px, round(height_px * scale)))
    left = (preprocessing.width_px - inner_width) // 2
    top = (preprocessing.height_px - inner_height) // 2
    return left, top, inner_width, inner_height


def _letterboxed(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    left, top, width, height = letterbox_box(*image.size, preprocessing)
    inner = _drawn(image, (width, height), preprocessing)
    pad = preprocessing.pad_value if image.mode == "L" else preprocessing.pad_color
    canvas = Image.new(image.mode, (preprocessing.width_px, preprocessing.height_px), pad)
    canvas.paste(inner, (left, top))
    return canvas
