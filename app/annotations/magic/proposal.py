"""From gestures to a mask: each gesture adds the piece that it points at, or takes it away.

A gesture is answered from what it points at alone, so that a later one never changes what an earlier one had right.
Masks are bool (H, W) of the whole image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from app.annotations.magic.candidates import LEVELS, Candidate, judged, pieces
from app.annotations.magic.prompts import Prompt
from app.annotations.magic.refining import parted, refined
from app.annotations.magic.scene import Looked, Scene
from app.annotations.magic.scoring import likeness, spots, strangeness
from app.annotations.magic.windows import windows_for
from app.contracts.shapes import Box

# Neighbourhoods of a seed, in places: a point, for small things; and a spot, for things of a texture.
_RADII = (0.7, 2.0)
_REACH = 4.0  # a correction reaches so many times as far as it is from the outline
_STRANGE = 0.6
_SAME = 0.02  # of the longer side: gestures as near as this are about the same thing, and the later one wins
_MOST_OTHERS = 0.2  # share of the points of other gestures that a piece may hold against their will


@dataclass(frozen=True)
class Found:
    """A piece, where it lies, and how good it is."""

    looked: Looked
    candidate: Candidate


def propose(scene: Scene, prompts: Sequence[Prompt], *, view: Box | None = None) -> np.ndarray:
    """Return what all gestures together mean, (H, W) bool; nothing may be marked.

    The scene's lock must be held.
    """
    marked = np.zeros(scene.pixels.shape[:2], dtype=bool)
    for n_done, prompt in enumerate(prompts):
        key = (tuple(prompts[: n_done + 1]), view)
        known = scene.remembered(key)
        if known is None:
            known = _followed(scene, marked, prompt, prompts[:n_done], view)
            scene.remember(key, known)
        marked = known
    return marked


def _followed(
    scene: Scene, marked: np.ndarray, prompt: Prompt, before: Sequence[Prompt], view: Box | None
) -> np.ndarray:
    """Return the mask after one more gesture."""
    against = _against(prompt, before, apart=_SAME * max(scene.size))
    found = _best(scene, marked, prompt, against, view)
    if found is None:
        return _without_a_piece(scene, marked, prompt, against)
    piece = refined(scene.pixels, found.looked.window, found.candidate.marked)
    return marked & ~piece if prompt.takes else marked | piece


def _against(prompt: Prompt, before: Sequence[Prompt], *, apart: float) -> list[tuple[float, float]]:
    """Return the points of gestures that wanted the contrary and are not taken back by this one."""
    own = np.asarray(prompt.points, dtype=np.float64).reshape(-1, 2)
    points = [point for one in before if one.takes != prompt.takes for point in one.points]
    return [point for point in points if not (np.hypot(*(own - point).T) <= apart).any()]


def _without_a_piece(
    scene: Scene, marked: np.ndarray, prompt: Prompt, against: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Where no outline parts the gesture from others: draw the line between them along the edges of the image."""
    if not prompt.takes or prompt.box is not None or not marked.any():
        return marked
    return marked & ~parted(scene.pixels, marked, away=prompt.points, keep=against)


def _best(
    scene: Scene, marked: np.ndarray, prompt: Prompt, against: Sequence[tuple[float, float]], view: Box | None
) -> Found | None:
    width, height = scene.size
    best: Found | None = None
    for window in windows_for(prompt, view=view, width_px=width, height_px=height):
        looked = scene.look(window)
        others = _inside(looked, against)
        already = _seen(looked, marked)
        near = _near(looked, already, prompt)
        for alike, piece in _candidates(looked, prompt):
            candidate = (piece & already if prompt.takes else piece & ~already) & near
            if not candidate.any() or (len(others) and candidate[others[:, 1], others[:, 0]].mean() > _MOST_OTHERS):
                continue
            result = already & ~candidate if prompt.takes else already | candidate
            one = judged(candidate, alike, looked.view, scale=window.scale, result=result)
            if one is not None and (best is None or one.quality > best.candidate.quality):
                best = Found(looked, one)
    return best


def _seen(looked: Looked, marked: np.ndarray) -> np.ndarray:
    """Return the part of a mask of the image that a window shows, bool (H, W)."""
    import cv2

    window = looked.window
    cut = marked[window.top : window.top + window.height, window.left : window.left + window.width]
    if window.scale == 1:
        return cut
    size = looked.shape[1], looked.shape[0]
    return np.asarray(cv2.resize(cut.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)


def _near(looked: Looked, already: np.ndarray, prompt: Prompt) -> np.ndarray:
    """Return the pixels (H, W) that a gesture may change: a correction beside an outline reaches not far from it."""
    import cv2

    if prompt.box is not None or not already.any():
        return np.ones(looked.shape, dtype=bool)
    seeds = _inside(looked, prompt.points)
    from_outline = cv2.distanceTransform((already if prompt.takes else ~already).astype(np.uint8), cv2.DIST_L2, 5)
    reach = _REACH * max(float(from_outline[seeds[:, 1], seeds[:, 0]].max()), 1.0)
    apart = np.ones(looked.shape, np.uint8)
    apart[seeds[:, 1], seeds[:, 0]] = 0
    return np.asarray(cv2.distanceTransform(apart, cv2.DIST_L2, 5) <= reach)


def _candidates(looked: Looked, prompt: Prompt) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield likeness maps and pieces of them."""
    if prompt.box is not None:
        yield from _in_box(looked, prompt.box)
        return
    seeds = _inside(looked, prompt.points)
    per_place = looked.places.columns / looked.shape[1]
    for radius in _RADII:
        meant = spots(looked.places, (seeds + 0.5) * per_place - 0.5, radius=radius)
        alike = _enlarged(likeness(looked.places, meant), looked.shape)
        for piece in pieces(alike, seeds):
            yield alike, piece


def _in_box(looked: Looked, box: Box) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what is strange in a box, compared with what surrounds it, and what is like the strangest of it."""
    corners = _pixels(looked, [(box.xmin, box.ymin), (box.xmax, box.ymax)])
    (left, top), (right, bottom) = corners[0], np.maximum(corners[1], corners[0] + 1)
    inside = np.zeros(looked.shape, dtype=bool)
    inside[top:bottom, left:right] = True
    rows, columns = looked.places.rows, looked.places.columns
    y, x = (
        np.linspace(0, side - 1, n).round().astype(int) for side, n in zip(looked.shape, (rows, columns), strict=True)
    )
    around = ~inside[np.ix_(y, x)]
    if around.all() or around.mean() < 0.05:
        return
    strange = strangeness(looked.places, around)
    for grid in (strange, likeness(looked.places, (strange > _STRANGE) & ~around)):
        alike = _enlarged(grid, looked.shape) * inside
        for level in LEVELS:
            if (alike > level).any():
                yield alike, alike > level


def _enlarged(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(grid.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _pixels(looked: Looked, points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return points of the image as pixels (N, 2) of a window, x and y, also where they lie outside of it."""
    window = looked.window
    moved = (np.asarray(points, dtype=np.float64).reshape(-1, 2) - (window.left, window.top)) * window.scale
    return np.floor(moved).astype(int)


def _inside(looked: Looked, points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return those of the points that a window holds; a point on the far edge of the image is on its last pixel."""
    height, width = looked.shape
    found = _pixels(looked, points)
    found = found[(found >= 0).all(axis=1) & (found[:, 0] <= width) & (found[:, 1] <= height)]
    return np.minimum(found, (width - 1, height - 1))
