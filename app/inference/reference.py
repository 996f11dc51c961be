"""A picture next to its reference: one picture of three channels that a network reads like any other.

The channels are the picture's grey levels, those of the reference laid onto it, and how far the two differ. Whatever
cuts, tiles or resizes the picture afterwards does so to its reference alike. Training, evaluation and serving all come
through `compare`, by way of `app.inference.preprocess.open_picture`.

Source: alignment by phase correlation, C. D. Kuglin and D. C. Hines, The phase correlation image alignment method,
1975; refined by the enhanced correlation coefficient, G. D. Evangelidis and E. Z. Psarakis, IEEE TPAMI 30, 2008. The
bounds, the order of scales and the matching of exposures are ours.
"""

from typing import Any

import numpy as np
from PIL import Image

from app.core.errors import Invalid
from app.core.pictures import to_array

MAX_SHIFT = 0.1  # share of the longer side by which a part may lie elsewhere than on its reference
MAX_TURN_DEG = 5.0
_MAX_ASPECT = 1.03  # by how much the shapes of picture and reference may differ
_COARSE_PX, _FINE_PX = 256, 640  # longer sides at which the two are aligned
_STEPS = {_COARSE_PX: 40, _FINE_PX: 12}
_ENOUGH = 1e-5
_BLUR_PX = 5
_MIN_GAIN, _MAX_GAIN = 0.5, 2.0
_N_FITTED = 40_000  # pixels that the exposures are matched on
_OUTLIER = 2.5  # standard deviations beyond which a pixel says nothing of the exposure: it may be the defect
_FLAT = 1.0  # grey levels of standard deviation below which a picture has nothing to align


class ReferenceMismatch(Invalid):
    """Picture and reference cannot show the same part: their shapes differ."""

    code, title = "reference_mismatch", "The reference does not fit"


def compare(picture: Image.Image, reference: Image.Image) -> Image.Image:
    """Return both as one picture (RGB) of the first one's size: grey, aligned reference's grey, difference.

    A reference of another size is resized; where it has no pixels once it is aligned, nothing differs. Colours enter by
    the difference alone, which is that of the channel that differs most. The same two give the same bytes.

    Raises:
        ReferenceMismatch: The shapes of the two differ by more than 3 %.
    """
    import cv2  # takes a tenth of a second to load, and most models compare nothing

    _check_shapes(picture.size, reference.size)
    if reference.size != picture.size:
        reference = reference.resize(picture.size, Image.Resampling.BICUBIC)
    own, other = to_array(picture), to_array(reference)
    own_grey, other_grey = (np.asarray(one.convert("L")) for one in (picture, reference))
    warp = align(own_grey, other_grey)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    is_still = np.array_equal(warp, _still())
    size = picture.size
    laid = other if is_still else cv2.warpAffine(other, warp, size, flags=flags)
    laid_grey = other_grey if is_still else cv2.warpAffine(other_grey, warp, size, flags=flags)
    seen: Any = np.full(other_grey.shape, 255, np.uint8)
    if not is_still:
        seen = cv2.warpAffine(seen, warp, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
        seen = cv2.erode(seen, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    exposure = _exposure(own_grey, laid_grey, seen)
    there = seen > 0
    laid_grey = np.where(there, cv2.LUT(laid_grey, exposure), own_grey)
    difference = cv2.absdiff(own, cv2.LUT(laid, exposure)).max(axis=2)
    return Image.fromarray(np.dstack([own_grey, laid_grey, np.where(there, difference, 0)]).astype(np.uint8))


def align(picture: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the matrix (2, 3) float32 from places on a picture to those on its reference; both are (H, W) uint8.

    A turn and a shift, within `MAX_TURN_DEG` and `MAX_SHIFT`; where none makes the two more alike, they stay in place.
    """
    import cv2

    height, width = picture.shape
    warp = _still()
    if min(picture.std(), reference.std()) < _FLAT:
        return warp
    best = -1.0
    for side in (_COARSE_PX, _FINE_PX):
        scale = min(1.0, side / max(height, width))
        if side == _FINE_PX and max(height, width) <= _COARSE_PX:
            break
        small = (max(8, round(width * scale)), max(8, round(height * scale)))
        own, other = (cv2.resize(one, small, interpolation=cv2.INTER_AREA) for one in (picture, reference))
        if side == _COARSE_PX:
            best = _likeness(own, other, warp)
        found = _refined(own, other, _scaled(warp, scale), _STEPS[side], try_shift=side == _COARSE_PX)
        if found is None:
            break
        likeness, refined = found
        candidate = _scaled(refined, 1.0 / scale)
        if side == _COARSE_PX and (likeness <= best + _ENOUGH or not _is_bounded(candidate, width, height)):
            break
        if _is_bounded(candidate, width, height):
            warp = candidate
    return warp


def _refined(
    own: np.ndarray, other: np.ndarray, start: np.ndarray, n_steps: int, *, try_shift: bool
) -> tuple[float, np.ndarray] | None:
    """Return the best alignment from a start, with how alike it makes the two; None where no step converged."""
    import cv2

    starts = [start]
    if try_shift:
        window = cv2.createHanningWindow(own.shape[::-1], cv2.CV_32F)
        shift, _ = cv2.phaseCorrelate(own.astype(np.float32), other.astype(np.float32), window)
        moved = start.copy()
        moved[:, 2] += np.array(shift, dtype=np.float32)
        if _likeness(own, other, moved) > _likeness(own, other, start):
            starts = [moved, start]
    everywhere = np.full(other.shape, 255, np.uint8)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, n_steps, _ENOUGH)
    for first in starts:
        try:
            _, warp = cv2.findTransformECC(
                own, other, first.copy(), cv2.MOTION_EUCLIDEAN, criteria, everywhere, _BLUR_PX
            )
        except cv2.error:  # it does not converge: the two have too little in common
            continue
        return _likeness(own, other, warp), warp
    return None


def _likeness(own: np.ndarray, other: np.ndarray, warp: np.ndarray) -> float:
    """Return the correlation of a picture with its warped reference, where both have pixels; -1 to 1."""
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(other, warp, own.shape[::-1], flags=flags).astype(np.float32)
    there = cv2.warpAffine(np.full_like(other, 255), warp, own.shape[::-1], flags=flags) == 255
    if there.sum() < own.size / 2:
        return -1.0
    first, second = own[there].astype(np.float32), laid[there]
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size else -1.0


def _exposure(own: np.ndarray, laid: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the table (256,) uint8 that brings a reference's grey levels to the picture's exposure.

    A gain and an offset by least squares, twice: the second time without the pixels that differ most.
    """
    step = max(1, int(np.sqrt(own.size / _N_FITTED)))
    there = seen[::step, ::step] > 0
    target, source = own[::step, ::step][there].astype(np.float64), laid[::step, ::step][there].astype(np.float64)
    gain, offset = 1.0, 0.0
    keep = np.ones(len(source), dtype=bool)
    for _ in range(2):
        if keep.sum() < 2:
            break
        spread = source[keep].std()
        gain = 1.0
        if spread >= _FLAT:
            covariance = ((source[keep] - source[keep].mean()) * (target[keep] - target[keep].mean())).mean()
            gain = float(np.clip(covariance / spread**2, _MIN_GAIN, _MAX_GAIN))
        offset = float(target[keep].mean() - gain * source[keep].mean())
        rest = np.abs(target - gain * source - offset)
        keep = rest <= max(_FLAT, _OUTLIER * float(rest.std()))
    return np.clip(np.round(gain * np.arange(256) + offset), 0, 255).astype(np.uint8)


def is_same_shape(own: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether pictures of these sizes (width, height) can be laid onto each other."""
    stretch = (own[0] / own[1]) / (other[0] / other[1])
    return 1 / _MAX_ASPECT <= stretch <= _MAX_ASPECT


def _check_shapes(own: tuple[int, int], other: tuple[int, int]) -> None:
    if not is_same_shape(own, other):
        raise ReferenceMismatch(
            f"The reference image is {other[0]:,} x {other[1]:,} pixels, the image {own[0]:,} x {own[1]:,}: they need "
            "the same proportions."
        )


def _still() -> np.ndarray:
    return np.eye(2, 3, dtype=np.float32)


def _scaled(warp: np.ndarray, scale: float) -> np.ndarray:
    """Return a matrix for pictures `scale` times as large; places are those of the pixels' middles."""
    scaled: Any = warp.astype(np.float64).copy()
    # x' = A x + t between middles at x + 1/2: the half pixel grows with the picture, the turn moves it.
    half = np.array([0.5, 0.5])
    scaled[:, 2] = scale * (scaled[:, 2] + half - scaled[:, :2] @ half) - half + scaled[:, :2] @ half
    return np.asarray(scaled, dtype=np.float32)


def _is_bounded(warp: np.ndarray, width: int, height: int) -> bool:
    """Tell whether a matrix turns and shifts little enough to be believed; the shift is that of the middle."""
    middle = np.array([width / 2, height / 2])
    shift = np.abs(warp[:, :2] @ middle + warp[:, 2] - middle).max()
    turn_deg = abs(np.degrees(np.arctan2(warp[1, 0], warp[0, 0])))
    return bool(np.isfinite(warp).all() and shift <= MAX_SHIFT * max(width, height) and turn_deg <= MAX_TURN_DEG)
