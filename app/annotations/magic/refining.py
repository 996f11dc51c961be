"""Putting an outline onto the edges of the image at its own resolution."""

from collections.abc import Sequence

import numpy as np

from app.annotations.magic.windows import Window

_MOST_PX = 1024  # longer side at which an outline is refined
_LEAST_CORE = 0.4
_LARGEST_HOLE = 0.05  # of the area: smaller ones are noise of the likeness


def refined(pixels: np.ndarray, window: Window, marked: np.ndarray, *, snaps: bool = True) -> np.ndarray:
    """Return a piece of a window as a mask (H, W) of the whole image, its outline moved onto the nearest edges.

    Args:
        pixels: RGB bytes (H, W, 3) of the image.
        window: Where the piece was found.
        marked: bool, at the size at which the window was looked at.
        snaps: Move the outline; else it is only smoothed.
    """
    import cv2

    scale = min(window.scale * 4, 1.0, _MOST_PX / max(window.width, window.height))
    size = max(round(window.width * scale), 1), max(round(window.height * scale), 1)
    soft = cv2.resize(_filled(marked).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    if scale > window.scale:
        soft = cv2.GaussianBlur(soft, (0, 0), 0.5 * scale / window.scale)
    own = soft > 0.5
    if snaps:
        cut = pixels[window.top : window.top + window.height, window.left : window.left + window.width]
        shown = cv2.resize(cut, size, interpolation=cv2.INTER_AREA) if scale < 1 else cut
        own = _snapped(np.ascontiguousarray(shown), own, reach=max(2, round(1.5 * scale / window.scale)))
    if scale < 1:
        native = window.width, window.height
        own = _enlarged(own, native)
    out = np.zeros(pixels.shape[:2], dtype=bool)
    out[window.top : window.top + window.height, window.left : window.left + window.width] = own
    return out


def parted(
    pixels: np.ndarray, marked: np.ndarray, *, away: Sequence[tuple[float, float]], keep: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Return the part of a mask (H, W) that belongs to the points `away`, parted from `keep` along the edges between.

    Without a point to keep, the place deepest inside the mask and far from `away` is kept.
    """
    import cv2

    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    whole = marked[top : rows[-1] + 1, left : columns[-1] + 1]
    native = whole.shape[1], whole.shape[0]
    scale = min(1.0, _MOST_PX / max(native))
    size = max(round(native[0] * scale), 1), max(round(native[1] * scale), 1)
    own = cv2.resize(whole.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    part = pixels[top : rows[-1] + 1, left : columns[-1] + 1]
    shown = np.ascontiguousarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA))
    basins = np.zeros(own.shape, np.int32)
    basins[~own] = 3
    height, width = own.shape
    for points, basin in ((keep, 1), (away, 2)):
        for x, y in points:
            at_x, at_y = int((x - left) * scale), int((y - top) * scale)
            if 0 <= at_x < width and 0 <= at_y < height and own[at_y, at_x]:
                basins[at_y, at_x] = basin
    if not (basins == 2).any():
        return np.zeros_like(marked)
    if not (basins == 1).any():
        far = cv2.distanceTransform((basins != 2).astype(np.uint8), cv2.DIST_L2, 5)
        deep = cv2.distanceTransform(own.astype(np.uint8), cv2.DIST_L2, 5)
        basins[np.unravel_index(np.argmax(np.minimum(far, 3 * deep) * own), own.shape)] = 1
    cv2.watershed(shown, basins)
    out = np.zeros_like(marked)
    out[top : rows[-1] + 1, left : columns[-1] + 1] = whole & _enlarged(own & (basins == 2), native)
    return out


def _enlarged(marked: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask at a size (width, height), its outline smooth. In bytes: of twelve megapixels, floats are slow."""
    import cv2

    if size == (marked.shape[1], marked.shape[0]):
        return marked
    return np.asarray(cv2.resize(marked.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR) > 127)


def _filled(marked: np.ndarray) -> np.ndarray:
    import cv2

    n, labels, stats, _ = cv2.connectedComponentsWithStats((~marked).astype(np.uint8), connectivity=4)
    small = [one for one in range(1, n) if stats[one, cv2.CC_STAT_AREA] <= _LARGEST_HOLE * marked.sum()]
    return marked | np.isin(labels, small) if small else marked


def _snapped(shown: np.ndarray, own: np.ndarray, *, reach: int) -> np.ndarray:
    """Return the mask with its outline on the strongest edge within `reach` pixels, by a watershed."""
    import cv2

    brick = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    mask = own.astype(np.uint8)
    core, hull = cv2.erode(mask, brick, borderType=cv2.BORDER_CONSTANT, borderValue=1), cv2.dilate(mask, brick)
    if core.sum() < _LEAST_CORE * mask.sum():
        return own  # a thin thing: a watershed would swallow it
    basins = np.where(core > 0, 1, np.where(hull > 0, 0, 2)).astype(np.int32)
    cv2.watershed(shown, basins)
    # What the watershed leaves between two basins goes to whom it was given before.
    return (basins == 1) | ((basins == -1) & own)
