"""Outlines that come into question for a gesture, and the choice among them.

A candidate is a connected piece of a likeness map above one of several levels. The best is the one whose outline lies
on the strongest edges of the image, of two alike the larger one: a person means the whole thing. H and W are the sides
at which a window is looked at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LEVELS = tuple(round(0.15 + 0.1 * step, 2) for step in range(8))
# Weights of the logarithms of size and of clearness, beside that of the edges; compared on tile defects.
_SIZE_WEIGHT = 0.3
_CLEARNESS_WEIGHT = 0.3
_MOST_CUT_OFF = 0.1  # share of a window's side that a candidate may run out of; a wider window has the rest of it


@dataclass(frozen=True)
class View:
    """A window's pixels as the choice sees them: `edges` (H, W), the strength of edges over the usual one."""

    edges: np.ndarray
    is_open: tuple[bool, bool, bool, bool]  # does the image go on beyond the left, top, right, lower side?


@dataclass(frozen=True)
class Candidate:
    """A piece of a window: `marked` (H, W) bool and how good it is; larger is better, in no unit."""

    marked: np.ndarray
    quality: float


def edges_of(pixels: np.ndarray) -> np.ndarray:
    """Return the strength of edges (H, W) of RGB bytes (H, W, 3), over the median of the picture."""
    import cv2

    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.0).astype(np.float32)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.sqrt((across**2 + down**2).sum(axis=2) / 3) / 8
    return np.asarray(strength / (np.median(strength) + 0.3), dtype=np.float32)


def pieces(
    likeness: np.ndarray, seeds: np.ndarray, *, least_share: float = 0.5, levels: Sequence[float] = LEVELS
) -> Iterator[np.ndarray]:
    """Yield the pieces of a likeness map (H, W) that hold the seeds, level by level, each as bool (H, W).

    Args:
        likeness: 1 at what is meant.
        seeds: Pixels (N, 2) as x, y.
        least_share: Of the seeds, that a piece must hold.
        levels: From which on a pixel belongs to a piece.
    """
    import cv2

    last = -1
    for level in levels:
        _, labels = cv2.connectedComponents((likeness > level).astype(np.uint8), connectivity=4)
        held = labels[seeds[:, 1], seeds[:, 0]]
        if (held > 0).mean() < least_share:
            continue
        marked = np.isin(labels, np.unique(held[held > 0]))
        size = int(marked.sum())
        if size != last:
            yield marked
        last = size


def judged(
    marked: np.ndarray, likeness: np.ndarray, view: View, *, scale: float, result: np.ndarray
) -> Candidate | None:
    """Return a piece with its quality, or None where it has no outline to judge or runs out of the window.

    Args:
        marked: bool (H, W).
        likeness: The map it was cut from, (H, W).
        view: The window's pixels.
        scale: Pixels that are looked at for each pixel of the image.
        result: bool (H, W): all that is marked once the piece is added or taken away. Its outline is judged where the
            piece changes it.
    """
    import cv2

    if _cut_off(marked, view.is_open) > _MOST_CUT_OFF:
        return None
    part = _around(marked, 4)
    own, edges, alike = marked[part].astype(np.uint8), view.edges[part], likeness[part]
    brick = np.ones((3, 3), np.uint8)
    larger = cv2.dilate(own, brick)
    after = result[part].astype(np.uint8)
    outline = cv2.dilate(after, brick) > cv2.erode(after, brick, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    outline &= larger > 0
    outside = cv2.dilate(larger, brick, iterations=2) > larger
    if not outline.any() or not outside.any():
        return None
    inside = own > 0
    spread = np.sqrt(alike[inside].var() + alike[outside].var() + 1e-6)
    clearness = max(float((alike[inside].mean() - alike[outside].mean()) / spread), 1e-3)
    quality = (
        np.log(max(float(edges[outline].mean()), 1e-3))
        + _SIZE_WEIGHT * np.log(float(inside.sum()) / scale**2)
        + _CLEARNESS_WEIGHT * np.log(clearness)
    )
    return Candidate(marked, float(quality))


def _cut_off(marked: np.ndarray, is_open: tuple[bool, bool, bool, bool]) -> float:
    sides = (marked[:, 0], marked[0], marked[:, -1], marked[-1])
    return sum(float(side.mean()) for side, goes_on in zip(sides, is_open, strict=True) if goes_on)


def _around(marked: np.ndarray, margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )
