"""How good masks from a few strokes are, and how quickly they come, library level.

Run: `python -m benchmarks.visual_prompting [DATA] [--judge dev] [--rounds 4] [--seeds 3]`

`DATA` (default `../shared/data/tile`) has `splits.csv` (file, defect, split), `images/` and `masks/`. A person is
simulated: on one train image of each defect a stroke through the middle of it, half as wide as it is, and two strokes
of background. After each run the hand corrects, on the train images that it looks at (those painted on and some more):
one stroke through the largest piece that is too much, one through the largest that is missing. Judged are the images of
`--judge`, none of which was painted on, good ones too: Dice of all their pixels, whatever the class, and the mean IoU
of the classes. Beside it, as a reference in the same run: each place gets the class of the nearest mean of what was
painted, on the same maps. Time is that of a run over all images with their maps on disk.
"""

import argparse
import csv
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

N_SHOWN = 24  # train images that the hand looks at for its corrections
TARGET_S = 10.0


@dataclass(frozen=True)
class Row:
    """One image of the set, and what it shows."""

    id: int
    file: Path
    mask: Path
    defect: str
    split: str

    def truth(self, value: int, size: tuple[int, int]) -> np.ndarray:
        """Return the drawn class (H, W) uint8."""
        if not self.mask.exists():
            return np.zeros(size[::-1], np.uint8)
        return np.where(np.asarray(Image.open(self.mask).convert("L")) > 127, value, 0).astype(np.uint8)


@dataclass
class Hand:
    """What was painted so far, by image id, and the generator of what comes."""

    generator: np.random.Generator
    strokes: dict[int, list[Any]] = field(default_factory=dict)

    def paint(self, image_id: int, category_id: int | None, points: np.ndarray, radius: float) -> None:
        from app.contracts.strokes import Stroke

        flat = tuple(float(value) for value in points.ravel())
        self.strokes.setdefault(image_id, []).append(
            Stroke(category_id=category_id, radius_px=max(0.5, radius), points=flat)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data/tile"))
    parser.add_argument("--judge", default="test", choices=("dev", "test"))
    parser.add_argument("--rounds", type=int, default=4, help="of correction")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--each", type=int, default=1, help="images of each defect that are painted on at first")
    parser.add_argument("--cache", type=Path, help="where maps are kept; without, they are made anew")
    arguments = parser.parse_args()
    if not (arguments.data / "splits.csv").exists():
        sys.exit("There are no images: name the folder.")
    with tempfile.TemporaryDirectory() as folder:
        report(arguments, Bench(arguments.data, arguments.cache or Path(folder)))


class Bench:
    """The images with their truth, in the contracts of the product."""

    def __init__(self, data: Path, cache: Path) -> None:
        from app.contracts.dataset import CategoryRef, DatasetItem

        self.cache = cache
        self.rows = [
            Row(number, data / "images" / one["file"], data / "masks" / f"{Path(one['file']).stem}.png", *rest(one))
            for number, one in enumerate(csv.DictReader((data / "splits.csv").open()), start=1)
        ]
        self.defects = sorted({row.defect for row in self.rows if row.mask.exists()})
        self.categories = tuple(
            CategoryRef(id=number, name=name, color="#000000") for number, name in enumerate(self.defects, start=1)
        )
        self.items, self.truths = {}, {}
        for row in self.rows:
            with Image.open(row.file) as image:
                size = image.size
            self.items[row.id] = DatasetItem(
                image_id=row.id,
                sha256=row.file.stem,
                blob_key=str(row.file),
                width_px=size[0],
                height_px=size[1],
                split=None,
            )
            value = self.defects.index(row.defect) + 1 if row.defect in self.defects else 0
            self.truths[row.id] = row.truth(value, size)

    def marking(self, strokes: dict[int, list[Any]]) -> Any:
        from worker.ml.prompting.marking import Marking

        return Marking(
            list(self.items.values()),
            strokes,
            self.categories,
            cache_dir=self.cache,
            open_image=lambda item: Path(item.blob_key),
        )


def rest(one: dict[str, str]) -> tuple[str, str]:
    return one["defect"], one["split"]


def report(arguments: argparse.Namespace, bench: Bench) -> None:
    """Print Dice and time after each round, and what nearest means say of the same strokes."""
    began = time.perf_counter()
    bench.marking({}).maps.make(list(bench.items.values()))
    print(f"maps of {len(bench.items)} images: {time.perf_counter() - began:.1f} s (once)")
    judged = [row for row in bench.rows if row.split == arguments.judge]
    found: list[list[tuple[float, ...]]] = [[] for _ in range(arguments.rounds + 1)]
    for seed in range(arguments.seeds):
        hand = begun(bench, arguments.each, seed)
        shown = looked_at(bench, hand, seed)
        for number in range(arguments.rounds + 1):
            found[number].append(run(bench, hand, judged))
            if number < arguments.rounds:
                correct(bench, hand, shown)
    print(f"{arguments.judge}, {len(judged)} images, {len(bench.defects)} defects, {arguments.seeds} seeds:")
    print("  round  images  strokes  Dice   mean IoU  nearest mean: Dice  learn s  all images s")
    for number, every in enumerate(found):
        n_images, n_strokes, dice, iou, other, learn_s, all_s = np.mean(every, axis=0)
        print(
            f"  {number:5} {n_images:7.1f} {n_strokes:8.1f} {dice:6.3f} {iou:9.3f} {other:19.3f} {learn_s:8.2f} "
            f"{all_s:13.2f}"
        )
    slowest = max(one[-1] for every in found for one in every)
    verdict = "PASS" if slowest <= TARGET_S else "MISSED"
    print(f"a run over {len(bench.items)} images, at most: {slowest:.1f} s (target {TARGET_S:.0f} s: {verdict})")
    last = np.mean(found[-1], axis=0)
    print(f"ratio to nearest means, last round: {last[2] / max(last[4], 1e-6):.2f}")


def run(bench: Bench, hand: Hand, judged: Sequence[Row]) -> tuple[float, ...]:
    """Learn, mark every image, and judge."""
    began = time.perf_counter()
    marking = bench.marking(hand.strokes)
    classifier = marking.learn()
    learn_s = time.perf_counter() - began
    masks = dict(marked(marking, classifier, bench))
    all_s = time.perf_counter() - began
    dice, iou = figures(bench, judged, masks)
    nearest, _ = figures(bench, judged, dict(nearest_means(marking, bench, judged)))
    n_strokes = sum(map(len, hand.strokes.values()))
    return len(hand.strokes), n_strokes, dice, iou, nearest, learn_s, all_s


def marked(marking: Any, classifier: Any, bench: Bench) -> Iterator[tuple[int, np.ndarray]]:
    from app.inference.rasters import draw_shape

    for item, shapes in marking.mark(classifier, list(bench.items.values())):
        canvas = np.zeros((item.height_px, item.width_px), np.uint8)
        for shape in reversed(shapes):
            draw_shape(shape.mask, canvas, shape.category_index + 1)
        yield item.image_id, canvas


def nearest_means(marking: Any, bench: Bench, judged: Sequence[Row]) -> Iterator[tuple[int, np.ndarray]]:
    """Give each image with the class of the nearest mean at every place: z-scores, Euclidean distance."""
    import cv2

    from worker.ml.prompting.classifier import at_places

    generator = np.random.default_rng(0)
    readable = list(bench.items.values())
    others = marking._others(readable, generator)
    mean, spread = others.mean(axis=0), others.std(axis=0) + 1e-3
    painted = [marking._painted(bench.items[image_id], generator) for image_id in marking.strokes]
    channels, values = np.concatenate([p.channels for p in painted]), np.concatenate([p.values for p in painted])
    kinds = np.unique(values)
    means = np.stack([((channels[values == kind] - mean) / spread).mean(axis=0) for kind in kinds])
    grid = marking.maps.grid
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    for row in judged:
        item = bench.items[row.id]
        z = (at_places(marking.maps.read(item), rows, columns) - mean) / spread
        away = ((z[:, None, :] - means) ** 2).sum(axis=2) if len(kinds) < 2 else _apart(z, means)
        places = kinds[away.argmin(axis=1)].reshape(grid, grid).astype(np.uint8)
        yield row.id, _on_image(places, item, marking.maps.preprocessing, cv2)


def _apart(z: np.ndarray, means: np.ndarray) -> np.ndarray:
    return np.asarray((means**2).sum(axis=1) - 2 * z @ means.T)


def _on_image(places: np.ndarray, item: Any, preprocessing: Any, cv2: Any) -> np.ndarray:
    from app.inference.preprocess import letterbox_box

    side = preprocessing.width_px
    large = cv2.resize(places, (side, side), interpolation=cv2.INTER_NEAREST)
    left, top, width, height = letterbox_box(item.width_px, item.height_px, preprocessing)
    cut = large[top : top + height, left : left + width]
    return np.asarray(cv2.resize(cut, (item.width_px, item.height_px), interpolation=cv2.INTER_NEAREST))


def figures(bench: Bench, judged: Sequence[Row], masks: dict[int, np.ndarray]) -> tuple[float, float]:
    """Return Dice whatever the class, and the mean IoU of the classes, of all pixels together."""
    from worker.ml.evaluation.segmentation import count_pixels, dice_of, mean_iou

    counts = sum(count_pixels(bench.truths[row.id], masks[row.id], len(bench.defects)) for row in judged)
    table = np.asarray(counts)[None].astype(np.float64)
    return float(dice_of(table)[0]), float(np.nan_to_num(mean_iou(table))[0])


# --- the hand --------------------------------------------------------------------------------------------------------


def begun(bench: Bench, n_each: int, seed: int) -> Hand:
    """Return a hand that has painted on `n_each` train images of each defect."""
    hand = Hand(np.random.default_rng(seed))
    for number, defect in enumerate(bench.defects, start=1):
        own = [row for row in bench.rows if row.split == "train" and row.defect == defect]
        for index in hand.generator.permutation(len(own))[:n_each]:
            truth = bench.truths[own[index].id] > 0
            hand.paint(own[index].id, number, *through(truth))
            for points in beside(truth, hand.generator):
                hand.paint(own[index].id, None, points, max(2.0, 0.02 * max(truth.shape)))
    return hand


def looked_at(bench: Bench, hand: Hand, seed: int) -> list[int]:
    generator = np.random.default_rng(1000 + seed)
    train = [row.id for row in bench.rows if row.split == "train"]
    others = [train[index] for index in generator.permutation(len(train))[:N_SHOWN]]
    return list(dict.fromkeys([*hand.strokes, *others]))


def correct(bench: Bench, hand: Hand, shown: Sequence[int]) -> None:
    """Paint one stroke over the largest piece that is too much, and one over the largest that is missing."""
    marking = bench.marking(hand.strokes)
    classifier = marking.learn()
    pieces = []
    for image_id in shown:
        truth = bench.truths[image_id]
        canvas = np.zeros(truth.shape, np.uint8)
        from app.inference.rasters import draw_shape

        for shape in reversed(marking.find(classifier, bench.items[image_id])):
            draw_shape(shape.mask, canvas, shape.category_index + 1)
        pieces.append((image_id, (canvas > 0) & (truth == 0), (truth > 0) & (canvas == 0)))
    image_id, surplus, _ = max(pieces, key=lambda one: float(depth(one[1]).max()))
    if surplus.any():
        hand.paint(image_id, None, *through(surplus))
    image_id, _, missing = max(pieces, key=lambda one: float(depth(one[2]).max()))
    if missing.any():
        hand.paint(image_id, int(bench.truths[image_id].max()), *through(missing))


def depth(marked: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.distanceTransform(np.pad(marked, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]


def through(marked: np.ndarray, n_parts: int = 6) -> tuple[np.ndarray, float]:
    """Return a line (N, 2) through the largest piece along its length, and half of its half width."""
    import cv2

    n, labels, stats, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8))
    piece = labels == 1 + int(np.argmax(stats[1:n, cv2.CC_STAT_AREA]))
    rows, columns = np.nonzero(piece)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    deep = depth(piece)[rows, columns]
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    along = (points - points.mean(axis=0)) @ axes[0]
    edges = np.linspace(along.min(), along.max() + 1e-6, n_parts + 1)
    chosen = []
    for low, high in itertools.pairwise(edges):
        inside = np.flatnonzero((along >= low) & (along < high))
        if len(inside):
            chosen.append(inside[np.argmax(deep[inside])])
    return points[chosen] + 0.5, 0.5 * float(np.median(deep[chosen]))


def beside(marked: np.ndarray, generator: np.random.Generator, n_lines: int = 2) -> Iterator[np.ndarray]:
    """Give straight lines (2, 2) that keep away from what is marked."""
    import cv2

    height, width = marked.shape
    near = cv2.dilate(marked.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    for _ in range(200):
        ends = generator.uniform((0.05 * width, 0.05 * height), (0.95 * width, 0.95 * height), (2, 2))
        drawn = np.zeros(marked.shape, np.uint8)
        cv2.line(drawn, *(tuple(int(v) for v in end) for end in ends), 1, 9)
        if np.hypot(*(ends[0] - ends[1])) > 0.4 * min(width, height) and not (near & (drawn > 0)).any():
            yield ends
            n_lines -= 1
            if not n_lines:
                return


if __name__ == "__main__":
    main()
