"""How well and how quickly anomalies are found, learning from good images alone, library level.

Run: `python -m benchmarks.anomaly [--data ../shared/data/tile] [--seeds 3]`

The folder holds `images/`, `masks/` (0 = background; a file without one is defect-free) and `splits.csv` with the
columns file, defect and split. Learned from: the good images of train, all of them and then ten. Thresholds come from
dev. Test images are judged end to end; every training runs in a new process, whose start, compiling and scoring of
all images count. `--patchcore` measures anomalib's PatchCore beside it.

`--validation` leaves the test images out and judges defective ones of train and dev instead: for choosing between
settings. `--bound 10000` instead learns from as many images, the good ones over and over at a small size, and prints
the memory that it takes: patches are sampled from every image, so that it does not grow with them.
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

TARGET_AUROC, TARGET_AUPRO, TARGET_TEN_AUROC, TARGET_S, TARGET_MB = 0.90, 0.78, 0.75, 27.0, 1150.0
BOUND_MB = 4096.0
GOOD, BAD = 1, 2


def build_dataset(data: Path, *, n_good: int | None, seed: int, is_validation: bool):
    """Return the folder as a dataset version: good images of train, and all of dev and test."""
    from app.contracts.dataset import AnnotationValue, CategoryRef, Dataset, DatasetItem
    from app.contracts.tasks import Split, TaskType

    rows = list(csv.DictReader((data / "splits.csv").open()))
    is_good = {row["file"]: not _mask_path(data, row["file"]).exists() for row in rows}
    good = sorted(row["file"] for row in rows if row["split"] == "train" and is_good[row["file"]])
    good = np.random.default_rng(seed).permutation(good).tolist()
    judged: set[str] = set()
    if is_validation:
        judged = set(good[: len(good) // 4]) | {
            r["file"] for r in rows if r["split"] != "test" and not is_good[r["file"]]
        }
        good = good[len(good) // 4 :]
    learned = set(good[:n_good])
    items = []
    for index, row in enumerate(rows):
        name, path = row["file"], data / "images" / row["file"]
        split = Split.TRAIN if name in learned else Split.TEST if name in judged else Split(row["split"])
        if (split is Split.TRAIN and name not in learned) or (is_validation and row["split"] == "test"):
            continue
        with Image.open(path) as image:
            width_px, height_px = image.size
        items.append(
            DatasetItem(
                image_id=index + 1,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                blob_key=str(path),
                width_px=width_px,
                height_px=height_px,
                split=split,
                annotations=(AnnotationValue(category_id=GOOD if is_good[name] else BAD),),
            )
        )
    categories = (
        CategoryRef(id=GOOD, name="Normal", color="#2a9d8f", is_good=True),
        CategoryRef(id=BAD, name="Abnormal", color="#e76f51"),
    )
    return Dataset(task=TaskType.ANOMALY, categories=categories, items=tuple(items))


def repeat_good(dataset, n: int):
    """Return the dataset with its good train images over and over, n in all: each copy is an image of its own."""
    from app.contracts.tasks import Split

    good = [item for item in dataset.items if item.split is Split.TRAIN]
    rest = [item for item in dataset.items if item.split is not Split.TRAIN]
    copies = [
        good[index % len(good)].model_copy(
            update={"image_id": 10_000 + index, "sha256": hashlib.sha256(str(index).encode()).hexdigest()}
        )
        for index in range(n)
    ]
    return dataset.model_copy(update={"items": (*copies, *rest)})


def _mask_path(data: Path, name: str) -> Path:
    return data / "masks" / f"{Path(name).stem}.png"


def mask_of(data: Path, name: str, size_px: tuple[int, int]) -> np.ndarray:
    """Return which pixels of an image are defective, (height, width) bool."""
    path = _mask_path(data, name)
    return np.asarray(Image.open(path).convert("L")) > 0 if path.exists() else np.zeros(size_px[::-1], dtype=bool)


def peak_memory_mb() -> float:
    """Return the most memory that this program held. `getrusage` would count what its parent held when it began."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def run_child(arguments: argparse.Namespace) -> None:
    """Train once in this process, and print what it took and what it found as JSON."""
    from app.contracts.dataset import Dataset
    from app.contracts.jobs import LogLine, Progress, TrainSpec
    from worker.ml.training.anomaly import train_anomaly

    stages: dict[str, float] = {}

    def on_event(event: object) -> None:
        if isinstance(event, LogLine) and arguments.verbose:
            print(f"    {event.text}", file=sys.stderr)
        if isinstance(event, Progress):
            stages.setdefault(event.stage, time.perf_counter())

    dataset = Dataset.model_validate_json(Path(arguments.dataset).read_text())
    started = time.perf_counter()
    trained = train_anomaly(
        TrainSpec(
            seed=arguments.child, backbone=arguments.backbone, resize=arguments.resize, image_size_px=arguments.size
        ),
        dataset,
        open_image=lambda item: Path(item.blob_key),
        cache_dir=Path(arguments.cache),
        work_dir=Path(arguments.work),
        on_event=on_event,
    )
    ended = time.perf_counter()
    peak_mb = peak_memory_mb()
    result = {
        "seconds": ended - started,
        "stages": dict(zip(stages, np.diff([*stages.values(), ended]).round(2).tolist(), strict=True)),
        "peak_mb": peak_mb,
        "test": trained.metrics["test"].model_dump(mode="json"),
        "average_precision": trained.metrics["test"].average_precision,
        "decision": trained.manifest.decision.model_dump(),
        "precision": trained.manifest.precision,
        "parity": trained.manifest.parity.model_dump(),
        "parity_other": [check.model_dump() for check in trained.manifest.parity_other],
        "torch_imported": "torch" in sys.modules,
        **({} if arguments.no_pixels else _pixel_figures(trained.bundle_dir, dataset, Path(arguments.data))),
    }
    print(json.dumps(result))


def _pixel_figures(bundle_dir: Path, dataset, data: Path) -> dict[str, float]:
    """Return pixel AUROC and AUPRO on the test images at their own size, from the maps that the product shows."""
    from app.contracts.tasks import Split
    from app.inference import Engine
    from worker.ml.evaluation.localisation import aupro, pixel_auroc

    model = Engine().get(bundle_dir)
    masks, maps, took = [], [], []
    for item in dataset.items:
        if item.split is not Split.TEST:
            continue
        path = Path(item.blob_key)
        started = time.perf_counter()
        heat = model.explain(path, category_index=1).values
        took.append(time.perf_counter() - started)
        size = (item.width_px, item.height_px)
        maps.append(np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)))
        masks.append(mask_of(data, path.name, size))
    return {
        "pixel_auroc": pixel_auroc(masks, maps),
        "aupro": aupro(masks, maps),
        "explain_p50_ms": 1000 * float(np.median(took)),
    }


def train(arguments: argparse.Namespace, cache: Path, *, n_good: int | None, seed: int) -> dict:
    """Train in a new process and return its result with the wall-clock time of the whole process."""
    with tempfile.TemporaryDirectory() as work:
        data = Path(arguments.data)
        dataset = build_dataset(data, n_good=n_good, seed=seed, is_validation=arguments.validation)
        dataset = repeat_good(dataset, arguments.bound) if arguments.bound else dataset
        (Path(work) / "dataset.json").write_text(dataset.model_dump_json())
        command = [
            sys.executable,
            "-m",
            "benchmarks.anomaly",
            "--child",
            str(seed),
            "--dataset",
            f"{work}/dataset.json",
        ]
        command += ["--cache", str(cache), "--work", f"{work}/work", "--data", str(data)]
        command += ["--backbone", arguments.backbone, "--resize", arguments.resize]
        command += ["--size", str(arguments.size)] if arguments.size else []
        command += ["--verbose"] if arguments.verbose else []
        command += ["--no-pixels"] if arguments.no_pixels else []
        started = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return {**json.loads(done.stdout.splitlines()[-1]), "wall_s": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("KIZU_SHARED_DATA", "../shared/data") + "/tile")
    parser.add_argument("--seeds", type=int, default=3, help="draws of ten good images")
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--resize", default="auto", choices=("auto", "stretch", "letterbox"))
    parser.add_argument("--size", type=int, default=None, help="side of the network's input in pixels")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--no-pixels", action="store_true")
    parser.add_argument("--patchcore", action="store_true", help="run anomalib's PatchCore as well: ten minutes")
    parser.add_argument("--bound", type=int, default=None, help="good images to learn from, to see the memory it takes")
    parser.add_argument("--verbose", action="store_true")
    for name in ("--child", "--dataset", "--cache", "--work"):
        parser.add_argument(name, help=argparse.SUPPRESS, type=int if name == "--child" else str)
    arguments = parser.parse_args()
    if arguments.child is not None:
        run_child(arguments)
        return
    print(f"{arguments.data}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(arguments.cache or folder)
        _export(arguments, cache)
        everything = train(arguments, cache, n_good=None, seed=0)
        if arguments.bound:
            _print_row(f"{arguments.bound:,} good images", everything)
            peak_mb = everything["peak_mb"]
            print(f"peak memory {peak_mb:.0f} MB   bound {BOUND_MB:g}   {'met' if peak_mb <= BOUND_MB else 'MISSED'}")
            return
        _print_row("all good images", everything)
        few = []
        for seed in range(arguments.seeds):
            few.append(train(arguments, cache, n_good=10, seed=seed))
            _print_row(f"10 good images, seed {seed}", few[-1])
        _print_summary(everything, few)
        if arguments.patchcore:
            _compare(arguments, Path(folder), everything)


def _compare(arguments: argparse.Namespace, folder: Path, ours: dict) -> None:
    """Run anomalib's PatchCore on the same images and print both side by side."""
    from benchmarks import anomaly_patchcore

    data, path = Path(arguments.data), folder / "dataset.json"
    dataset = build_dataset(data, n_good=None, seed=0, is_validation=arguments.validation)
    path.write_text(dataset.model_dump_json())
    try:
        theirs = anomaly_patchcore.run(path, data, _backbone(arguments))
    except subprocess.CalledProcessError as error:
        print(f"PatchCore was not measured: {error}")
        return
    seconds = theirs["fit_s"] + theirs["score_s"]
    print(
        f"anomalib's PatchCore: image AUROC {theirs['auroc']:.3f} AP {theirs['average_precision']:.3f} "
        f"pixel AUROC {theirs['pixel_auroc']:.3f} AUPRO {theirs['aupro']:.3f} | {theirs['fit_s']:.1f} s to fit, "
        f"{theirs['score_s']:.1f} s to score, peak {theirs['peak_mb']:.0f} MB, {theirs['n_kept']:,} patches"
    )
    times, memory = seconds / ours["seconds"], theirs["peak_mb"] / ours["peak_mb"]
    print(f"    {times:.1f} times our time, {memory:.1f} times our memory")


def _backbone(arguments: argparse.Namespace) -> str:
    from worker.ml.training.anomaly import DEFAULT_BACKBONE

    return DEFAULT_BACKBONE if arguments.backbone == "auto" else arguments.backbone


def _export(arguments: argparse.Namespace, cache: Path) -> None:
    """Write the backbone's graph, which is done once for an installation."""
    from app.catalog import BACKBONES
    from worker.ml.backbones.export import exported
    from worker.ml.training.anomaly_input import DEFAULT_SIDE_PX

    exported(BACKBONES[_backbone(arguments)], image_size_px=DEFAULT_SIDE_PX, cache_dir=cache)


def _print_row(name: str, result: dict) -> None:
    test = result["test"]
    auroc, f1 = test["auroc"], test["f1"]
    print(
        f"{name}: image AUROC {auroc['value']:.3f} ({auroc['low']:.3f}-{auroc['high']:.3f}) "
        f"AP {result['average_precision']:.3f} F1 {f1['value']:.3f} ({f1['low']:.3f}-{f1['high']:.3f})"
        + (f" pixel AUROC {result['pixel_auroc']:.3f} AUPRO {result['aupro']:.3f}" if "aupro" in result else "")
        + f" | {result['seconds']:.1f} s, process {result['wall_s']:.1f} s, peak {result['peak_mb']:.0f} MB, "
        f"{result['precision']}, torch imported: {result['torch_imported']}"
    )
    print(f"    stages {result['stages']}")
    print(f"    {result['decision']['reason']}")
    print(f"    parity {result['parity']} other {result['parity_other']}", flush=True)


def _print_summary(everything: dict, few: list[dict]) -> None:
    rows = [
        ("image AUROC", everything["test"]["auroc"]["value"], TARGET_AUROC, 1),
        ("AUPRO", everything.get("aupro", float("nan")), TARGET_AUPRO, 1),
        ("build + scoring, s", everything["seconds"], TARGET_S, -1),
        ("peak memory, MB", everything["peak_mb"], TARGET_MB, -1),
    ]
    if few:
        mean = float(np.mean([result["test"]["auroc"]["value"] for result in few]))
        rows.append(("10 good: AUROC", mean, TARGET_TEN_AUROC, 1))
    for name, value, target, sign in rows:
        print(f"{name:20s} {value:9.3f}   target {target:g}   {'met' if sign * (value - target) >= 0 else 'MISSED'}")


if __name__ == "__main__":
    main()
