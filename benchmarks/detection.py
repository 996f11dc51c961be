"""How well boxes are found after a few minutes of training, on steel surfaces with six kinds of defects.

Run: `python -m benchmarks.detection [--minutes 4] [--seeds 1] [--data FOLDER]`

The folder holds `images/`, `annotations/*.xml` (Pascal VOC) and `splits.csv` (file, split). The network learns on
train, its best epoch and its threshold are chosen on dev, test is looked at once. The minutes are those of the whole
training: reading, learning, export, and finding on every image. Figures are the COCO evaluation's.

Data: NEU surface defect database, NEU-DET (Song and Yan 2013; He et al. 2020), for research.
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
from defusedxml import ElementTree

from app.contracts.dataset import AnnotationValue, CategoryRef, Dataset, DatasetItem
from app.contracts.jobs import LogLine, MetricPoint, TrainSpec
from app.contracts.shapes import Box
from app.contracts.tasks import Split, TaskType
from worker.ml.training import detection
from worker.ml.training.detection_fit import TUNED

TARGETS = {4: 0.60, 10: 0.68, 60: 0.76}


def read_voc(folder: Path) -> Dataset:
    """Return a folder of Pascal VOC boxes as a dataset version."""
    rows = list(csv.DictReader((folder / "splits.csv").open()))
    trees = [ElementTree.parse(folder / "annotations" / f"{Path(row['file']).stem}.xml").getroot() for row in rows]
    names = sorted({node.findtext("name") for tree in trees for node in tree.iter("object")})
    items = []
    for index, (row, tree) in enumerate(zip(rows, trees, strict=True)):
        path = folder / "images" / row["file"]
        width, height = (int(tree.findtext(f"size/{side}")) for side in ("width", "height"))
        items.append(
            DatasetItem(
                image_id=index + 1,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                blob_key=str(path),
                width_px=width,
                height_px=height,
                split=Split(row["split"]),
                annotations=tuple(
                    AnnotationValue(category_id=1 + names.index(node.findtext("name")), box=_box(node, width, height))
                    for node in tree.iter("object")
                ),
            )
        )
    return Dataset(
        task=TaskType.DETECTION,
        categories=tuple(CategoryRef(id=n, name=name, color="#808080") for n, name in enumerate(names, start=1)),
        items=tuple(items),
    )


def _box(node, width: int, height: int) -> Box:
    xmin, ymin, xmax, ymax = (float(node.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
    # Pascal VOC counts pixels from 1 and includes the last one.
    return Box(xmin=max(0.0, xmin - 1), ymin=max(0.0, ymin - 1), xmax=min(xmax, width), ymax=min(ymax, height))


def run(dataset: Dataset, *, minutes: float | None, seed: int, cache_dir: Path, is_verbose: bool):
    """Train once; return the model, the seconds that it took, and the processor seconds of all threads together."""

    def say(event: object) -> None:
        if isinstance(event, LogLine):
            print(f"    {event.text}", flush=True)
        elif is_verbose and isinstance(event, MetricPoint):
            print(
                f"    {time.perf_counter() - started:6.0f} s  {event.series} {event.name} {event.x:.0f}: {event.y:.3f}"
            )

    started, worked = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as work_dir:
        trained = detection.train_detection(
            TrainSpec(head="detector", method="fine_tuning", seed=seed, time_budget_s=minutes and round(60 * minutes)),
            dataset,
            open_image=lambda item: Path(item.blob_key),
            cache_dir=cache_dir,
            work_dir=Path(work_dir),
            on_event=say,
        )
    return trained, time.perf_counter() - started, time.process_time() - worked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument(
        "--epochs",
        type=int,
        help="instead of minutes: on a machine with other work, only the processor's seconds say what it costs",
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("KIZU_SHARED_DATA", "../shared/data")) / "steel"
    )
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"There is no folder {arguments.data}.")
    dataset = read_voc(arguments.data)
    minutes = arguments.minutes
    if arguments.epochs:
        minutes = None
        detection.TUNED = replace(TUNED, n_epochs=arguments.epochs)
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            print(f"Seed {seed}, load {os.getloadavg()[0]:.1f}", flush=True)
            trained, seconds, worked_s = run(
                dataset, minutes=minutes, seed=seed, cache_dir=Path(cache), is_verbose=arguments.verbose
            )
            test = trained.metrics["test"]
            results.append((test.map50.value, test.map50_95.value))
            print(
                f"  {seconds:.0f} s ({worked_s:.0f} processor s), load {os.getloadavg()[0]:.1f}; at {test.threshold}:"
            )
            print(f"  {'class':<20}{'boxes':>6}{'AP50':>8}{'AP50-95':>9}{'P':>7}{'R':>7}{'F1':>7}")
            for category, row in zip(dataset.categories, test.classes, strict=True):
                figures = (row.ap50, row.ap50_95, row.precision, row.recall, row.f1)
                ap50, ap, precision, recall, f1 = (f"{value:.3f}" if value is not None else "–" for value in figures)
                print(f"  {category.name:<20}{row.n_drawn:>6}{ap50:>8}{ap:>9}{precision:>7}{recall:>7}{f1:>7}")
            print(
                f"  mAP50 {test.map50.value:.3f}, mAP50-95 {test.map50_95.value:.3f}, parity {trained.manifest.parity}",
                flush=True,
            )
    wanted = f"after {minutes:g} min" if minutes else f"after {arguments.epochs} epochs"
    mean50, mean = np.mean(results, axis=0)
    target = TARGETS.get(int(minutes)) if minutes else None
    verdict = "" if target is None else f"; target {target:.2f}: {'reached' if mean50 >= target else 'missed'}"
    print(f"Mean of {len(results)} {wanted}: mAP50 {mean50:.3f}, mAP50-95 {mean:.3f}{verdict}")


if __name__ == "__main__":
    main()
