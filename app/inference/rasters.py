"""Shapes as pixels, and pixels as shapes. H and W are the sides of a picture in pixels."""

import numpy as np

from app.contracts.shapes import MAX_COUNTS_CHARS, Box, Mask, Polygon, Shape


class TooRagged(ValueError):
    """A mask of so many separate runs that it is noise."""


def encode_mask(marked: np.ndarray, *, left: int = 0, top: int = 0) -> Mask:
    """Return marked pixels (H, W) as a mask of the smallest rectangle that holds them.

    Args:
        marked: bool; at least one pixel is set.
        left: Where the first column lies in the picture.
        top: Where the first row lies.

    Raises:
        TooRagged: It has too many separate runs.
        ValueError: Nothing is marked.
    """
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    if not len(rows):
        raise ValueError("a mask marks at least one pixel")
    cut = marked[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    counts = run_lengths(cut)
    if len(counts) > MAX_COUNTS_CHARS:
        raise TooRagged(f"{len(counts):,} characters")
    return Mask(
        xmin=left + int(columns[0]), ymin=top + int(rows[0]), width=cut.shape[1], height=cut.shape[0], counts=counts
    )


def run_lengths(marked: np.ndarray) -> str:
    """Return pixels (H, W) of bool row by row as runs: `<n>Z` outside, `<n>N` inside."""
    flat = marked.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.append(starts, len(flat))).tolist()
    return "".join(f"{n}{'N' if inside else 'Z'}" for n, inside in zip(lengths, flat[starts].tolist(), strict=True))


def decode_mask(mask: Mask) -> np.ndarray:
    """Return the pixels of a mask's own rectangle (height, width) as bool."""
    runs = list(mask.runs())
    flat = np.repeat([inside for inside, _ in runs], [n for _, n in runs])
    return np.asarray(flat, dtype=bool).reshape(mask.height, mask.width)


def draw_shape(shape: Shape, canvas: np.ndarray, value: int) -> None:
    """Write `value` into the pixels (H, W) that a shape covers; what lies outside of the canvas is left out."""
    height, width = canvas.shape
    if isinstance(shape, Box):
        canvas[round(shape.ymin) : round(shape.ymax), round(shape.xmin) : round(shape.xmax)] = value
    elif isinstance(shape, Mask):
        inside = decode_mask(shape)[: max(0, height - shape.ymin), : max(0, width - shape.xmin)]
        part = canvas[shape.ymin : shape.ymin + inside.shape[0], shape.xmin : shape.xmin + inside.shape[1]]
        part[inside] = value
    else:
        canvas[_inside(shape, width, height)] = value


def _inside(polygon: Polygon, width: int, height: int) -> np.ndarray:
    """Return the pixels (H, W) whose centre a line from the left reaches after an odd number of edges."""
    crossings = np.zeros((height, width + 1), dtype=np.int32)
    for ring in polygon.rings:
        xs, ys = np.array(ring[0::2]), np.array(ring[1::2])
        for x0, y0, x1, y1 in zip(xs, ys, np.roll(xs, -1), np.roll(ys, -1), strict=True):
            first, last = (int(np.ceil(y - 0.5)) for y in sorted((y0, y1)))
            rows = np.arange(max(0, first), min(height, last))
            if len(rows):
                at = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                np.add.at(crossings, (rows, np.clip(np.ceil(at - 0.5), 0, width).astype(np.int64)), 1)
    return np.asarray(np.cumsum(crossings, axis=1)[:, :width] % 2 == 1)
