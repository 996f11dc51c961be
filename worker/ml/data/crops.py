"""Pictures as a detector reads them: windows of the originals at the network's size, with what people drew on them.

All are kept in one memory-mapped file, so that a training reads and decodes each original once, however many epochs it
runs and however often it is taken up again. H and W are the sides of the network's input in pixels.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.contracts.bundle import Preprocessing, Tiling
from app.contracts.dataset import DatasetItem
from app.inference.detection import Frame, Window, frame_of, windows_of
from app.inference.preprocess import open_picture, to_pixels
from worker.ml.data.extraction import OpenImage

# What is left of a box at the edge of a window counts as seen while at least this much of it is there.
MIN_VISIBLE = 0.4


@dataclass(frozen=True)
class Marked:
    """Boxes (N, 4) xyxy in pixels and the index of each one's class (N,)."""

    boxes: np.ndarray
    labels: np.ndarray

    def inside(self, width: float, height: float, *, min_side_px: float = 1.0) -> "Marked":
        """Cut at (0, 0, width, height); what is mostly outside is dropped."""
        limits = np.array([width, height, width, height], dtype=np.float32)
        cut = np.clip(self.boxes, 0, limits)
        before, after = _sides(self.boxes), _sides(cut)
        visible = after.prod(axis=1) / np.maximum(before.prod(axis=1), 1e-6)
        keep = (visible >= MIN_VISIBLE) & (after.min(axis=1, initial=np.inf) >= min_side_px)
        return Marked(cut[keep], self.labels[keep])


def _sides(boxes: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0))


def marked_of(item: DatasetItem, index_of: dict[int, int]) -> Marked:
    """Return what people drew on an image, in its own pixels; polygons and masks count by their bounds."""
    drawn = [(one.shape.bounds, index_of[one.category_id]) for one in item.annotations if one.shape is not None]
    boxes = [(box.xmin, box.ymin, box.xmax, box.ymax) for box, _ in drawn]
    return Marked(
        np.array(boxes, dtype=np.float32).reshape(-1, 4), np.array([label for _, label in drawn], dtype=np.int64)
    )


@dataclass
class Crops:
    """Windows of images: `pixels` (N, H, W, 3) uint8, and what is marked on each, in input pixels."""

    pixels: np.ndarray
    marked: list[Marked]
    unreadable: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.marked)


def make_crops(
    items: Sequence[DatasetItem],
    *,
    index_of: dict[int, int],
    preprocessing: Preprocessing,
    tiling: Tiling | None,
    open_image: OpenImage,
    path: Path,
    on_image: Callable[[int, int], None] = lambda _done, _total: None,
) -> Crops:
    """Return the windows of images, from `path` where an earlier attempt finished them.

    A window without a mark is kept too: most of what a detector must learn is what is no defect. Images that cannot be
    read are named in the result and left out.
    """
    plan = [(item, window) for item in items for window in windows_of(item.width_px, item.height_px, tiling)]
    marked = [_marked_on(item, window, index_of, preprocessing) for item, window in plan]
    shape = (len(plan), preprocessing.height_px, preprocessing.width_px, 3)
    facts = ([item.sha256 for item in items], preprocessing.model_dump_json(), tiling and tiling.model_dump_json())
    key, notes = hashlib.sha256(repr(facts).encode()).hexdigest(), path.with_suffix(".json")
    unreadable = _finished(notes, key)
    if unreadable is None:
        pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        unreadable = _fill(pixels, plan, preprocessing, open_image, on_image)
        pixels.flush()
        notes.write_text(json.dumps({"key": key, "unreadable": unreadable}))
    pixels = np.load(path, mmap_mode="r")
    keep = [index for index, (item, _) in enumerate(plan) if item.sha256 not in unreadable]
    if len(keep) == len(plan):
        return Crops(pixels, marked, unreadable)
    return Crops(pixels[keep], [marked[index] for index in keep], unreadable)


def _fill(
    pixels: np.ndarray,
    plan: Sequence[tuple[DatasetItem, Window]],
    preprocessing: Preprocessing,
    open_image: OpenImage,
    on_image: Callable[[int, int], None],
) -> dict[str, str]:
    unreadable: dict[str, str] = {}
    opened: tuple[str, object] = ("", None)
    for index, (item, window) in enumerate(plan):
        on_image(index, len(plan))
        if item.sha256 in unreadable:
            continue
        try:
            if opened[0] != item.sha256:
                opened = (item.sha256, open_picture(open_image(item)))
            pixels[index] = to_pixels(window.cut(opened[1]), preprocessing)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - one bad image, however bad, must not end the training
            unreadable[item.sha256] = str(error) or type(error).__name__
    return unreadable


def _finished(notes: Path, key: str) -> dict[str, str] | None:
    try:
        content = json.loads(notes.read_text())
        return dict(content["unreadable"]) if content["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _marked_on(item: DatasetItem, window: Window, index_of: dict[int, int], preprocessing: Preprocessing) -> Marked:
    own = marked_of(item, index_of)
    shifted = Marked(own.boxes - np.array([window.left, window.top] * 2, dtype=np.float32), own.labels)
    seen = shifted.inside(window.width, window.height)
    frame: Frame = frame_of(window.width, window.height, preprocessing)
    return Marked(frame.to_input(seen.boxes), seen.labels)
