"""How well and how quickly magic click finds what is meant, library level.

Run: `python -m benchmarks.magic_click [--tile ../shared/data/tile] [--steel ../shared/data/steel] [--all]`

Tile: one click in the middle of the defect (the pixel farthest from its outline), then up to two corrections, each in
the middle of the largest mistake, to add what is missing or to take away what is too much; against the true mask, which
may have several pieces. And one box, a tenth too large on each side. Steel: one click in the middle of each drawn box,
against that box. Judged is the test split; `--all` judges train and dev instead, for choosing between settings.
Time: a click with the image described, as after a person opened it; and on the same defects enlarged to 4000 x 3000.
"""

import argparse
import csv
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

N_CLICKS = 3
TARGET_MS = 400.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tile", type=Path, default=Path("../shared/data/tile"))
    parser.add_argument("--steel", type=Path, default=Path("../shared/data/steel"))
    parser.add_argument("--all", action="store_true", help="train and dev instead of test")
    parser.add_argument("--edges", action="store_true", help="without a backbone")
    arguments = parser.parse_args()
    splits = {"train", "dev"} if arguments.all else {"test"}
    with tempfile.TemporaryDirectory() as folder:
        extractor = open_extractor(None if arguments.edges else Path(folder))
        took_s: list[float] = []
        if (arguments.tile / "splits.csv").exists():
            report_tile(arguments.tile, splits, extractor, took_s)
        if (arguments.steel / "splits.csv").exists():
            report_steel(arguments.steel, splits, extractor)
        if not took_s:
            sys.exit("There are no images: name the folders with --tile and --steel.")
        print(f"a click, the image described before: {percentiles(took_s)}")
        large_s = time_large(arguments.tile, extractor)
        verdict = "PASS" if np.percentile(large_s, 95) * 1000 <= TARGET_MS else "MISSED"
        print(f"a click on 4000 x 3000 px: {percentiles(large_s)} (target {TARGET_MS:.0f} ms: {verdict})")


def open_extractor(folder: Path | None) -> Any:
    """Return the extractor, with the default backbone exported into a folder, or with none."""
    from app.annotations.magic.maps import Extractor
    from app.catalog import BACKBONES
    from app.catalog.backbones import AUTO_BACKBONES
    from worker.ml.backbones.export import exported

    if folder is None:
        return Extractor(None)
    card = BACKBONES[AUTO_BACKBONES[0]]
    return Extractor((card, exported(card, image_size_px=card.input_px, cache_dir=folder).path))


def report_tile(data: Path, splits: set[str], extractor: Any, took_s: list[float]) -> None:
    """Print the overlap with the true masks after each click, and after a box."""
    from app.annotations.magic.prompts import Prompt
    from app.annotations.magic.proposal import propose
    from app.annotations.magic.scene import Scene

    by_defect: dict[str, list[list[float]]] = defaultdict(list)
    for row in defective(data, splits):
        pixels, truth = read(data, row["file"])
        scene = Scene(pixels, extractor)
        scene.warm()
        prompts = [Prompt(points=(middle(truth),))]
        scores = []
        for _ in range(N_CLICKS):
            began = time.perf_counter()
            found = propose(scene, prompts)
            took_s.append(time.perf_counter() - began)
            scores.append(overlap(found, truth))
            prompts.append(correction(found, truth))
        scores.append(overlap(propose(scene, [Prompt(box=loose_box(truth))]), truth))
        by_defect[row["defect"]].append(scores)
    every = np.array([scores for found in by_defect.values() for scores in found])
    print(f"tile, {len(every)} defects, mean IoU after 1, 2, 3 clicks; after one box:")
    for name, found in [*sorted(by_defect.items()), ("all", every)]:
        one, two, three, box = np.mean(found, axis=0)
        print(f"  {name:10} {one:.3f} {two:.3f} {three:.3f}; {box:.3f}   ({len(found)} images)")
    print(f"  IoU of 0.5 or more: {', '.join(f'{share:.0%}' for share in (every >= 0.5).mean(axis=0))}")


def report_steel(data: Path, splits: set[str], extractor: Any) -> None:
    """Print the overlap of the found extent with drawn boxes."""
    from app.annotations.magic.prompts import Prompt
    from app.annotations.magic.proposal import propose
    from app.annotations.magic.scene import Scene

    scores = defaultdict(list)
    for row in csv.DictReader((data / "splits.csv").open()):
        if row["split"] not in splits:
            continue
        image = next(data.glob(f"images/{row['file']}"))
        scene = Scene(np.asarray(Image.open(image).convert("RGB")), extractor)
        for name, box in boxes_of(data / "annotations" / f"{image.stem}.xml"):
            centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            scores[name].append(box_overlap(propose(scene, [Prompt(points=(centre,))]), box))
    every = np.concatenate([np.array(found) for found in scores.values()])
    print(f"steel, {len(every)} boxes, mean IoU of the extent after one click in the middle:")
    for name, found in sorted(scores.items()):
        print(f"  {name:16} {np.mean(found):.3f}   ({len(found)} boxes)")
    print(f"  {'all':16} {every.mean():.3f}; 0.5 or more: {(every >= 0.5).mean():.0%}")


def time_large(data: Path, extractor: Any) -> list[float]:
    """Return the seconds of each click on images of twelve megapixels."""
    from app.annotations.magic.prompts import Prompt
    from app.annotations.magic.proposal import propose
    from app.annotations.magic.scene import Scene

    took_s = []
    for row in defective(data, {"test"})[::8]:
        pixels, truth = read(data, row["file"])
        large = np.asarray(Image.fromarray(pixels).resize((4000, 3000)))
        true = np.asarray(Image.fromarray(truth).resize((4000, 3000)))
        scene = Scene(large, extractor)
        scene.warm()
        prompts = [Prompt(points=(middle(true),))]
        for _ in range(2):
            began = time.perf_counter()
            found = propose(scene, prompts)
            took_s.append(time.perf_counter() - began)
            prompts.append(correction(found, true))
    return took_s


# --- images and figures ----------------------------------------------------------------------------------------------


def defective(data: Path, splits: set[str]) -> list[dict[str, str]]:
    rows = csv.DictReader((data / "splits.csv").open())
    return [
        row for row in rows if row["split"] in splits and (data / "masks" / f"{Path(row['file']).stem}.png").exists()
    ]


def read(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) and its mask (H, W)."""
    with Image.open(data / "images" / name) as image, Image.open(data / "masks" / f"{Path(name).stem}.png") as mask:
        return np.asarray(image.convert("RGB")), np.asarray(mask.convert("L")) > 0


def depth(marked: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from the outline, 0 outside."""
    import cv2

    return cv2.distanceTransform(np.pad(marked, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]


def middle(marked: np.ndarray) -> tuple[float, float]:
    y, x = np.unravel_index(np.argmax(depth(marked)), marked.shape)
    return float(x) + 0.5, float(y) + 0.5


def correction(found: np.ndarray, truth: np.ndarray) -> Any:
    """Return the next click: in the middle of what is missing most, or of what is most too much."""
    from app.annotations.magic.prompts import Prompt

    missing, surplus = truth & ~found, found & ~truth
    if depth(missing).max() >= depth(surplus).max():
        return Prompt(points=(middle(missing),))
    return Prompt(takes=True, points=(middle(surplus),))


def loose_box(truth: np.ndarray) -> Any:
    from app.contracts.shapes import Box

    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    air_y, air_x = 2 + 0.1 * len(rows), 2 + 0.1 * len(columns)
    height, width = truth.shape
    return Box(
        xmin=max(columns[0] - air_x, 0),
        ymin=max(rows[0] - air_y, 0),
        xmax=min(columns[-1] + 1 + air_x, width),
        ymax=min(rows[-1] + 1 + air_y, height),
    )


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / max((found | truth).sum(), 1))


def boxes_of(path: Path) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return class and edges of the boxes in a Pascal VOC file of the shared data."""
    found = []
    for one in ET.parse(path).getroot().iter("object"):
        box = one.find("bndbox")
        assert box is not None
        edges = [float(box.findtext(side, "0")) for side in ("xmin", "ymin", "xmax", "ymax")]
        found.append((one.findtext("name", ""), (edges[0] - 1, edges[1] - 1, edges[2], edges[3])))
    return found


def box_overlap(found: np.ndarray, box: tuple[float, float, float, float]) -> float:
    if not found.any():
        return 0.0
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    own = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    wide = max(min(own[2], box[2]) - max(own[0], box[0]), 0)
    high = max(min(own[3], box[3]) - max(own[1], box[1]), 0)
    area = [(one[2] - one[0]) * (one[3] - one[1]) for one in (own, box)]
    return float(wide * high / (sum(area) - wide * high))


def percentiles(took_s: list[float]) -> str:
    p50, p95 = np.percentile(np.array(took_s) * 1000, (50, 95))
    return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, {len(took_s)} clicks"


if __name__ == "__main__":
    main()
