"""8-bit masks: a picture of the image's size whose values are classes, 0 for background."""

import io
import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image as Picture

from app.contracts.shapes import Mask, Polygon
from app.datasets.formats.base import BadLabelFile, FoundShape
from app.inference.rasters import TooRagged, draw_shape, encode_mask

MAX_BYTES = 64_000_000
_FORMATS = ("PNG", "BMP", "TIFF")  # no JPEG: it changes values
_MODES = frozenset({"L", "P", "1"})
_BROKEN = (OSError, ValueError, SyntaxError, Picture.DecompressionBombError)
BACKGROUND = 0


def read(
    content: bytes, *, width_px: int, height_px: int, names: Mapping[int, str] | None = None
) -> tuple[FoundShape, ...]:
    """Return one mask for each class that the picture holds; none where it is background all over.

    Args:
        content: A PNG, BMP or TIFF of one channel of 8 bits; of a palette the indices count, not the colours.
        width_px: Of the picture that it is sent with; a mask of another size is refused.
        height_px: Likewise.
        names: The class of each value. None takes a value for the index of a class.

    Raises:
        BadLabelFile: It is no such picture, of another size, or holds a value that `names` lacks.
    """
    values = _values(content, width_px, height_px)
    found = [int(value) for value in np.flatnonzero(np.bincount(values.ravel(), minlength=256)) if value != BACKGROUND]
    unknown = [value for value in found if names is not None and value not in names]
    if unknown:
        shown = ", ".join(map(str, unknown[:10]))
        raise BadLabelFile(f"The mask holds values that its class map does not name: {shown}.")
    return tuple(
        FoundShape(encode(values == value), class_name=names[value])
        if names is not None
        else FoundShape(encode(values == value), class_index=value)
        for value in found
    )


def parse_names(text: str) -> dict[int, str]:
    """Return a class map, JSON such as `{"1": "crack", "2": "hole"}`. Value 0 is background, whatever it is called.

    Raises:
        BadLabelFile: It is no such object.
    """
    wanted = 'Send the class map as a JSON object from values to names: {"1": "crack"}.'
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLabelFile(wanted) from error
    if not isinstance(given, dict):
        raise BadLabelFile(wanted)
    names: dict[int, str] = {}
    for key, name in given.items():
        if not re.fullmatch(r"[0-9]{1,3}", key) or int(key) > 255 or not isinstance(name, str) or not name.strip():
            raise BadLabelFile(f"{wanted} “{key[:20]}” is no value from 0 to 255, or its name is empty.")
        names[int(key)] = name.strip()
    names.pop(BACKGROUND, None)
    return names


def encode(marked: np.ndarray) -> Mask:
    """Return the marked pixels of a whole image (H, W) as a mask of the smallest rectangle that holds them.

    Raises:
        BadLabelFile: The outline is too ragged to be a label.
        ValueError: Nothing is marked.
    """
    try:
        return encode_mask(marked)
    except TooRagged as error:
        raise BadLabelFile("The mask is noise: it has too many separate runs of pixels to be a label.") from error


def union(found: Sequence[Polygon | Mask]) -> Mask | None:
    """Return the pixels that any of the shapes covers, as one mask; None where there is none, or none of a pixel.

    Raises:
        BadLabelFile: The outline is too ragged to be a label.
    """
    ends = [(one.bounds.ymax, one.bounds.xmax) for one in found] or [(0.0, 0.0)]
    height, width = np.ceil(np.max(ends, axis=0)).astype(int)
    marked = np.zeros((height, width), dtype=bool)
    for shape in found:
        draw_shape(shape, marked, True)
    return encode(marked) if marked.any() else None


def _values(content: bytes, width_px: int, height_px: int) -> np.ndarray:
    """Return the values (H, W) as uint8."""
    if len(content) > MAX_BYTES:
        raise BadLabelFile(f"A mask is at most {MAX_BYTES // 1_000_000} MB.")
    try:
        with Picture.open(io.BytesIO(content), formats=_FORMATS) as picture:
            if picture.size != (width_px, height_px):
                raise BadLabelFile(
                    f"The mask has {picture.width} x {picture.height} pixels, the picture {width_px} x {height_px}."
                )
            if picture.mode not in _MODES:
                raise BadLabelFile(
                    f"A mask has one channel of 8 bits whose values are classes; this one is {picture.mode}."
                )
            values = np.asarray(picture)
    except BadLabelFile:
        raise
    except _BROKEN as error:
        raise BadLabelFile("The mask is not a readable PNG, BMP or TIFF.") from error
    return values.astype(np.uint8)
