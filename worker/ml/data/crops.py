"""Pictures as a network learns from them: windows of the originals at its own size, with what people drew on them.

All are kept in one memory-mapped file, so that a training reads and decodes each original once, however many epochs it
runs and however often it is taken up again. H and W are the sides of the network's input in pixels.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from app.contracts.bundle import Preprocessing, Tiling
from app.contracts.dataset import DatasetItem
from app.inference.preprocess import Picture, open_picture, to_pixels
from app.inference.rasters import draw_shape
from app.inference.windows import Frame, Window, frame_of, windows_of

# What is left of a box at the edge of a window counts as seen while at least this much of it is there.
MIN_VISIBLE = 0.4
_MIN_COVERED = 110  # of 255: thin lines would vanish at one half
_MIN_WITHOUT = 200  # windows without a mark that are kept in any case

OpenPicture = Callable[[DatasetItem], Picture]
"""Returns the bytes or the file of an image, with its reference where it is compared with one."""


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
    """Windows of images, and what is marked on each, in input pixels.

    `pixels` (M, H, W, 3) uint8 may hold rows of images that turned out unreadable; `rows` (N,) names the good ones.
    `classes` (M, H, W) uint8, where asked for, is 0 for background and one more than the index of a class.
    """

    pixels: np.ndarray
    rows: np.ndarray
    marked: list[Marked]
    unreadable: dict[str, str] = field(default_factory=dict)
    classes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.marked)

    def picture(self, index: int) -> np.ndarray:
        """Return one window (H, W, 3), read from the file."""
        return np.asarray(self.pixels[self.rows[index]])

    def classes_of(self, index: int) -> np.ndarray:
        """Return the class of every pixel (H, W) of one window, read from the file."""
        assert self.classes is not None
        return np.asarray(self.classes[self.rows[index]])


def make_crops(
    items: Sequence[DatasetItem],
    *,
    index_of: dict[int, int],
    preprocessing: Preprocessing,
    tiling: Tiling | None,
    open_image: OpenPicture,
    path: Path,
    at_most: int,
    with_classes: bool = False,
    on_image: Callable[[int, int], None] = lambda _done, _total: None,
) -> Crops:
    """Return windows of images, from `path` where an earlier attempt finished them.

    Windows without a mark are kept too, as many as there are with one: most of what a detector must learn is what is no
    defect. Beyond `at_most`, windows are drawn at random. Images that cannot be read are named and left out. With
    `with_classes`, what is drawn is kept pixel by pixel too.
    """
    every = [(item, window) for item in items for window in windows_of(item.width_px, item.height_px, tiling)]
    marks = [_marked_on(item, window, index_of, preprocessing) for item, window in every]
    chosen = _balanced(np.array([len(one.labels) > 0 for one in marks], dtype=bool), at_most)
    plan, marked = [every[index] for index in chosen], [marks[index] for index in chosen]
    shape = (len(plan), preprocessing.height_px, preprocessing.width_px, 3)
    facts = (
        [(item.sha256, item.reference and item.reference.sha256, window) for item, window in plan],
        preprocessing.model_dump_json(),
        tiling and tiling.model_dump_json(),
        [item.model_dump_json(include={"annotations"}) for item in items] if with_classes else None,
    )
    key = hashlib.sha256(repr(facts).encode()).hexdigest()
    if not plan:
        return Crops(np.zeros(shape, dtype=np.uint8), np.zeros(0, dtype=np.int64), [])

    def draw() -> None:
        classes = np.lib.format.open_memmap(_classes_path(path), mode="w+", dtype=np.uint8, shape=shape[:3])
        _draw(classes, plan, index_of, preprocessing)
        classes.flush()

    stored = _Stored(path, key, preprocessing, open_image, on_image)
    pixels, rows, unreadable = stored.pictures(plan, draw if with_classes else lambda: None)
    drawn = np.load(_classes_path(path), mmap_mode="r") if with_classes else None
    return Crops(pixels, rows, [marked[index] for index in rows], unreadable, drawn)


def whole_pictures(
    items: Sequence[DatasetItem],
    labels: np.ndarray,
    *,
    preprocessing: Preprocessing,
    open_image: OpenPicture,
    path: Path,
    on_image: Callable[[int, int], None] = lambda _done, _total: None,
) -> Crops:
    """Return images as a whole, each marked with its class (N,) and no box; else as `make_crops`."""
    plan = [(item, window) for item in items for window in windows_of(item.width_px, item.height_px, None)]
    facts = ([item.sha256 for item in items], preprocessing.model_dump_json())
    key = hashlib.sha256(repr(facts).encode()).hexdigest()
    pixels, rows, unreadable = _Stored(path, key, preprocessing, open_image, on_image).pictures(plan)
    marked = [Marked(np.zeros((1, 4), dtype=np.float32), labels[row : row + 1]) for row in rows]
    return Crops(pixels, rows, marked, unreadable)


@dataclass(frozen=True)
class _Stored:
    """The file of windows, and beside it what it was made from (`key`) and which images could not be read."""

    path: Path
    key: str
    preprocessing: Preprocessing
    open_image: OpenPicture
    on_image: Callable[[int, int], None]

    def pictures(
        self, plan: Sequence[tuple[DatasetItem, Window]], also: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
        """Return the pixels, which rows of them are good, and why others are not; `also` is done where they are new."""
        notes = self.path.with_suffix(".json")
        unreadable = _finished(notes, self.key) if self.path.exists() else None
        if unreadable is None:
            shape = (len(plan), self.preprocessing.height_px, self.preprocessing.width_px, 3)
            pixels = np.lib.format.open_memmap(self.path, mode="w+", dtype=np.uint8, shape=shape)
            unreadable = _fill(pixels, plan, self.preprocessing, self.open_image, self.on_image)
            pixels.flush()
            also()
            notes.write_text(json.dumps({"key": self.key, "unreadable": unreadable}))
        bad = unreadable
        rows = np.array([index for index, (item, _) in enumerate(plan) if item.sha256 not in bad], dtype=np.int64)
        return np.load(self.path, mmap_mode="r"), rows, unreadable


def _classes_path(path: Path) -> Path:
    return path.with_suffix(".classes.npy")


def _balanced(has_marks: np.ndarray, at_most: int) -> list[int]:
    """Return indices of windows in order: those with marks, and as many without; the rest is left out."""
    generator = np.random.default_rng(0)
    with_marks = generator.permutation(np.flatnonzero(has_marks))[:at_most]
    n_without = min(max(len(with_marks), _MIN_WITHOUT), at_most)
    without = generator.permutation(np.flatnonzero(~has_marks))[:n_without]
    return sorted([*with_marks.tolist(), *without.tolist()])


def _fill(
    pixels: np.ndarray,
    plan: Sequence[tuple[DatasetItem, Window]],
    preprocessing: Preprocessing,
    open_image: OpenPicture,
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


def _draw(
    classes: np.ndarray,
    plan: Sequence[tuple[DatasetItem, Window]],
    index_of: dict[int, int],
    preprocessing: Preprocessing,
) -> None:
    drawn: tuple[int, np.ndarray] = (-1, np.zeros((0, 0), dtype=np.uint8))
    for row, (item, window) in enumerate(plan):
        if not item.annotations:
            continue
        if drawn[0] != item.image_id:
            drawn = (item.image_id, class_map(item, index_of))
        classes[row] = _shrunk(window.cut(Image.fromarray(drawn[1])), preprocessing)


def class_map(item: DatasetItem, index_of: dict[int, int]) -> np.ndarray:
    """Return the class of every pixel of an original (height, width) uint8; what was drawn later lies above."""
    canvas = np.zeros((item.height_px, item.width_px), dtype=np.uint8)
    for one in item.annotations:
        if one.shape is not None:
            draw_shape(one.shape, canvas, index_of[one.category_id] + 1)
    return canvas


def _shrunk(classes: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Return classes at the network's size: of each place, the one that covers most of it and almost half."""
    size = preprocessing.model_copy(update={"pad_value": 0, "resample": "bilinear"})
    values = np.asarray(classes)
    best = np.full((preprocessing.height_px, preprocessing.width_px), _MIN_COVERED, dtype=np.uint8)
    found = np.zeros_like(best)
    for value in np.flatnonzero(np.bincount(values.ravel(), minlength=256)[1:]) + 1:
        covered = to_pixels((values == value).astype(np.uint8) * 255, size)[..., 0]
        found[covered > best] = value
        best = np.maximum(best, covered)
    return found


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
