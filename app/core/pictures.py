"""Reading pictures: one decoder for uploads, training and predictions, so that all three see the same pixels.

Only the formats listed here are ever opened: everything else, SVG and HTML first, is refused by its first bytes
whatever its name says. Nothing is decoded before its size is known to be within the cap.
"""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from app.core.errors import PayloadTooLarge, UnsupportedMedia

PictureFormat = Literal["jpeg", "png", "bmp", "webp", "tiff"]
Source = bytes | Path

MEDIA_TYPES: dict[PictureFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "tiff": "image/tiff",
}
DEFAULT_MAX_PIXELS = 200_000_000
MAX_SIDE_PX = 60_000

# What Pillow's plugins raise on broken files is not one family; these are the ones its fuzzers meet.
# `UserWarning` is among them for processes that turn warnings into errors: Pillow warns of a cut-off TIFF, then raises.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    UserWarning,
)
_EXIF_ORIENTATION = 0x0112
_TURNED_ORIENTATIONS = frozenset({5, 6, 7, 8})
_WIDE_GREY_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})

# The cap below replaces Pillow's, which only warns up to twice its limit.
Image.MAX_IMAGE_PIXELS = None


class NotAPicture(UnsupportedMedia):
    """The bytes are none of the formats that are read."""

    code, title = "not_a_picture", "Not a picture"


class BrokenPicture(UnsupportedMedia):
    """The bytes start like a picture but cannot be decoded to the end."""

    code, title = "broken_picture", "Damaged picture"


class PictureTooLarge(PayloadTooLarge):
    """The picture would take too much memory once decoded."""

    code, title = "picture_too_large", "Picture too large"


@dataclass(frozen=True)
class PictureInfo:
    """What the header says. Sizes are after the EXIF turn; `bits` is per channel."""

    format: PictureFormat
    width_px: int
    height_px: int
    mode: str
    bits: int
    is_turned: bool

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]


def sniff(head: bytes) -> PictureFormat | None:
    """Return the format that the first bytes (16 are enough) announce, or None."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"BM"):
        return "bmp"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}:
        return "tiff"
    return None


def probe(source: Source, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> PictureInfo:
    """Read the header of a picture without decoding it.

    Raises:
        NotAPicture: The bytes are none of JPEG, PNG, BMP, WebP or TIFF.
        BrokenPicture: The header is damaged.
        PictureTooLarge: More than `max_pixels`, or a side over 60,000 px.
    """
    picture_format = _format_of(source)
    with _opened(source, picture_format, max_pixels) as image:
        return _info(image, picture_format)


def verify(
    source: Source,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    room_for: Callable[[PictureInfo], AbstractContextManager[object]] = nullcontext,
) -> PictureInfo:
    """Decode a picture to its end, so that what is kept can always be read again; return what `probe` would.

    Args:
        source: The bytes, or the file that holds them.
        max_pixels: Refuse more than this many pixels.
        room_for: Entered with what the header says, before anything is decoded: it may wait for memory.

    Raises as `decode` does.
    """
    picture_format = _format_of(source)
    with _opened(source, picture_format, max_pixels) as image:
        info = _info(image, picture_format)
        with room_for(info):
            try:
                image.load()
                if image.mode == "F" or image.mode in _WIDE_GREY_MODES:
                    _to_8_bits(image)
            except _BROKEN as error:
                raise BrokenPicture("The picture is damaged or cut off.") from error
    return info


def decode(source: Source, *, max_pixels: int = DEFAULT_MAX_PIXELS, at_least_px: int | None = None) -> Image.Image:
    """Decode a picture to 8 bits, turned as its EXIF data says.

    Grey pictures stay grey (mode `L`), the rest becomes `RGB`. 16-bit grey is divided by 257, so that exposure is kept
    and no picture is stretched by its own extremes. Transparent pixels are laid over white. Of a TIFF or an
    animation the first frame is read.

    Args:
        source: The bytes, or the file that holds them.
        max_pixels: Refuse more than this many pixels.
        at_least_px: A JPEG may be decoded at a half, quarter or eighth of its size as long as both sides keep at
            least this many pixels: several times faster for a picture that is resized anyway.

    Raises:
        NotAPicture: The bytes are none of JPEG, PNG, BMP, WebP or TIFF.
        BrokenPicture: The file is damaged, cut off, or of a kind that is not read (floating-point TIFF).
        PictureTooLarge: More than `max_pixels`, or a side over 60,000 px.
    """
    picture_format = _format_of(source)
    with _opened(source, picture_format, max_pixels) as image:
        orientation = _orientation(image)
        if at_least_px is not None and picture_format == "jpeg":
            image.draft(None, (at_least_px, at_least_px))
        try:
            image.load()
            plain = _to_8_bits(image)
        except _BROKEN as error:
            raise BrokenPicture("The picture is damaged or cut off.") from error
    return _turned(plain, orientation)


def to_array(image: Image.Image) -> np.ndarray:
    """Return a decoded picture as RGB bytes (H, W, 3) uint8."""
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _format_of(source: Source) -> PictureFormat:
    if isinstance(source, bytes):
        head = source[:16]
    else:
        with source.open("rb") as file:
            head = file.read(16)
    if not head:
        raise NotAPicture("The file is empty.")
    found = sniff(head)
    if found is None:
        raise NotAPicture("This is not a picture that Kizu reads. Use JPEG, PNG, BMP, WebP or TIFF.")
    return found


def _opened(source: Source, picture_format: PictureFormat, max_pixels: int) -> Image.Image:
    """Open with the one plugin that fits the first bytes, and check the size before anything is decoded."""
    try:
        image = Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=[picture_format.upper()]
        )
    except (UnidentifiedImageError, Image.DecompressionBombError, *_BROKEN) as error:
        raise BrokenPicture("The picture is damaged or cut off.") from error
    width_px, height_px = image.size
    if width_px * height_px > max_pixels or max(width_px, height_px) > MAX_SIDE_PX:
        image.close()
        raise PictureTooLarge(
            f"The picture has {width_px:,} x {height_px:,} pixels; at most {max_pixels / 1e6:,.0f} megapixels and "
            f"{MAX_SIDE_PX:,} pixels a side are read.",
            max_pixels=max_pixels,
        )
    return image


def _info(image: Image.Image, picture_format: PictureFormat) -> PictureInfo:
    turned = _orientation(image) in _TURNED_ORIENTATIONS
    width_px, height_px = (image.height, image.width) if turned else image.size
    bits = 16 if image.mode in _WIDE_GREY_MODES else _bits_per_sample(image)
    return PictureInfo(picture_format, width_px, height_px, image.mode, bits, turned)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where there is none or the EXIF block is broken (a broken tag harms no pixel)."""
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1  # Pillow would decode the whole file to look for a block behind the pixels
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _BROKEN:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    if orientation == 1:
        return image
    exif = image.getexif()
    exif[_EXIF_ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


def _bits_per_sample(image: Image.Image) -> int:
    if image.mode == "1":
        return 1
    tags = getattr(image, "tag_v2", None)
    bits = tags.get(258) if tags is not None else None
    return int(bits[0]) if bits else 8


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Return the picture as `L` or `RGB`, without metadata."""
    if image.mode in _WIDE_GREY_MODES:
        return _from_wide_grey(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed white")
    if image.mode == "1":
        plain = image.convert("L")
    elif image.mode in {"L", "RGB"} and "transparency" not in image.info:
        plain = image.copy()
    elif image.mode in {"P", "PA", "LA", "La", "RGBA", "RGBa"} or "transparency" in image.info:
        plain = _over_white(image)
    else:  # CMYK, YCbCr, LAB, HSV
        plain = image.convert("RGB")
    plain.info = {}
    plain.getexif().clear()
    return plain


def _from_wide_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65_535):
        raise ValueError("more than 16 bits of grey")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba.convert("RGB")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")
