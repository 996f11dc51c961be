"""How well the pixels of defects are found after a few minutes of training, on magnetic tiles with five kinds of them.

Run: `python -m benchmarks.segmentation [--minutes 5] [--seeds 1] [--few 10] [--data FOLDER]`

The folder holds `images/`, `masks/*.png` (above 0: defect) and `splits.csv` (file, defect, split; a file without a
mask is good). The network learns on train, its best epoch and its thresholds are chosen on dev, test is looked at once.
With `--few N` it learns from N defective images, about as many of each kind, and N good ones of train, without dev. The
minutes are those of the whole training: reading, learning, export, and marking every image. All figures count the
pixels of all test images together, also those of good ones, at the images' own size.

Data: surface defects of magnetic tiles (Huang, Qiu, Yuan, The Visual Computer 36, 2020), for research.
"""

import argparse
import csv
import hashlib
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from app.contracts.dataset import AnnotationValue, CategoryRef, Dataset, DatasetItem
from app.contracts.jobs import LogLine, MetricPoint, TrainSpec
from app.contracts.tasks import Split, TaskType
from app.inference.rasters import encode_mask
from worker.ml.training import segmentation

GOOD = "free"
_PHASES = (segmentation.FROZEN, segmentation.TUNED)


def read_masks(folder: Path) -> tuple[Dataset, dict[int, str]]:
    """Return a folder of pictures and masks as a dataset version, and the kind of each image by its id."""
    rows = list(csv.DictReader((folder / "splits.csv").open()))
    names = sorted({row["defect"] for row in rows} - {GOOD})
    items = []
    for index, row in enumerate(rows):
        path, mask = folder / "images" / row["file"], folder / "masks" / f"{Path(row['file']).stem}.png"
        shapes = ()
        if mask.exists() and row["defect"] != GOOD:
            marked = np.asarray(Image.open(mask).convert("L")) > 0
            if marked.any():
                shapes = (AnnotationValue(category_id=1 + names.index(row["defect"]), mask=encode_mask(marked)),)
        width, height = Image.open(path).size
        items.append(
            DatasetItem(
                image_id=index + 1,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                blob_key=str(path),
                width_px=width,
                height_px=height,
                split=Split(row["split"]),
                annotations=shapes,
            )
        )
    dataset = Dataset(
        task=TaskType.SEGMENTATION,
        categories=tuple(CategoryRef(id=n, name=name, color="#808080") for n, name in enumerate(names, start=1)),
        items=tuple(items),
    )
    return dataset, {index + 1: row["defect"] for index, row in enumerate(rows)}


def few(dataset: Dataset, kinds: dict[int, str], n: int, seed: int) -> Dataset:
    """Return a dataset with `n` defective and `n` good images to learn from, no dev, and the whole of test."""
    generator = np.random.default_rng(seed)
    train = [item for item in dataset.items if item.split is Split.TRAIN]
    names, chosen = [category.name for category in dataset.categories], []
    for index, name in enumerate([*names, GOOD]):
        n_own = n if name == GOOD else n // len(names) + (index < n % len(names))
        own = [item for item in train if kinds[item.image_id] == name]
        chosen += [own[place] for place in generator.permutation(len(own))[:n_own]]
    items = (*chosen, *(item for item in dataset.items if item.split is Split.TEST))
    return dataset.model_copy(update={"items": items})


def run(dataset: Dataset, spec: TrainSpec, *, cache_dir: Path, is_verbose: bool):
    """Train once; return the model, the seconds that it took, and the processor seconds of all threads together."""

    def say(event: object) -> None:
        if isinstance(event, LogLine):
            print(f"    {event.text}", flush=True)
        elif is_verbose and isinstance(event, MetricPoint):
            print(
                f"    {time.perf_counter() - started:6.0f} s  {event.series} {event.name} {event.x:.0f}: {event.y:.3f}",
                flush=True,
            )

    started, worked = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as work_dir:
        trained = segmentation.train_segmentation(
            spec,
            dataset,
            open_image=lambda item: Path(item.blob_key),
            cache_dir=cache_dir,
            work_dir=Path(work_dir),
            on_event=say,
        )
    return trained, time.perf_counter() - started, time.process_time() - worked


def show(trained, names: list[str]) -> None:
    test = trained.metrics["test"]
    print(f"  {'class':<12}{'defects':>8}{'IoU':>7}{'Dice':>7}{'P':>7}{'R':>7}{'found':>7}")
    for name, row in zip(names, test.classes, strict=True):
        figures = (row.iou, row.dice, row.precision, row.recall, row.recall_of_defects)
        print(f"  {name:<12}{row.n_defects:>8}" + "".join(f"{_shown(figure.value):>7}" for figure in figures))
    print(
        f"  mean IoU {_interval(test.mean_iou)}, Dice {_interval(test.dice)}, P {_shown(test.precision.value)}, "
        f"R {_shown(test.recall.value)}, defects found {_interval(test.recall_of_defects)}; regions from "
        f"{test.threshold}, {trained.manifest.masks}\n  parity {trained.manifest.parity}",
        flush=True,
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(share) -> str:
    return f"{_shown(share.value)} ({_shown(share.low)}-{_shown(share.high)})"


def verdict(name: str, value: float, target: float) -> str:
    return f"{name} {value:.3f}, target {target:.2f}: {'PASS' if value >= target else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--epochs",
        type=int,
        nargs=2,
        metavar=("HEAD", "TAIL"),
        help="instead of minutes: on a machine with other work, only the processor's seconds say what it costs",
    )
    parser.add_argument("--frozen", action="store_true", help="the head alone, as the fast method does")
    parser.add_argument("--few", type=int, metavar="N", help="learn from N defective and N good images")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--size", type=int)
    parser.add_argument(
        "--validation", action="store_true", help="judge on dev: for choosing settings, not for figures"
    )
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("KIZU_SHARED_DATA", "../shared/data")) / "tile"
    )
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"There is no folder {arguments.data}.")
    dataset, kinds = read_masks(arguments.data)
    if arguments.validation:
        moved = {Split.DEV: Split.TEST}
        kept = [item for item in dataset.items if item.split is not Split.TEST]
        items = tuple(item.model_copy(update={"split": moved.get(item.split, item.split)}) for item in kept)
        dataset = dataset.model_copy(update={"items": items})
    minutes = arguments.minutes
    if arguments.epochs:
        minutes = None
        segmentation.FROZEN, segmentation.TUNED = (
            replace(phase, n_epochs=n) for phase, n in zip(_PHASES, arguments.epochs, strict=True)
        )
        segmentation.FROZEN_ALONE = replace(segmentation.FROZEN_ALONE, n_epochs=arguments.epochs[0])
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            given = few(dataset, kinds, arguments.few, seed) if arguments.few else dataset
            spec = TrainSpec(
                backbone=arguments.backbone,
                method="feature_extraction" if arguments.frozen else "fine_tuning",
                image_size_px=arguments.size,
                seed=seed,
                time_budget_s=minutes and round(60 * minutes),
            )
            print(f"Seed {seed}, {len(given.items)} images, load {os.getloadavg()[0]:.1f}", flush=True)
            trained, seconds, worked_s = run(given, spec, cache_dir=Path(cache), is_verbose=arguments.verbose)
            print(f"  {seconds:.0f} s ({worked_s:.0f} processor s), load {os.getloadavg()[0]:.1f}")
            show(trained, [category.name for category in dataset.categories])
            test = trained.metrics["test"]
            results.append((test.dice.value, test.mean_iou.value, *(row.iou.value or 0.0 for row in test.classes)))
    means = np.mean(results, axis=0)
    print(f"Mean of {len(results)}:")
    if arguments.few:
        print(f"  {verdict('Dice', means[0], 0.50)}; mean IoU {means[1]:.3f}")
        return
    print(f"  {verdict('Dice', means[0], 0.75)}")
    print(f"  {verdict('mean IoU', means[1], 0.50)}")
    cracks = [category.name for category in dataset.categories].index("crack") if "crack" in kinds.values() else None
    if cracks is not None:
        print(f"  {verdict('IoU of cracks', means[2 + cracks], 0.01)}")


if __name__ == "__main__":
    main()
