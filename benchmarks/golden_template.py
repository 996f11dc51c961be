"""What reference images (golden templates) bring: boxes found after equal time, learned with and without them.

Run: `python -m benchmarks.golden_template FOLDER [--minutes 2] [--seeds 1]`, or with `--drawn` on a set that it draws.

The folder holds `images/`, `annotations/*.xml` (Pascal VOC) and `splits.csv` (file, split), as that of
`benchmarks.detection`; and the references, in `images/` or in `references/`, which are known by their names:
`part7_test.png` is compared with `part7_temp.png`, or as `--image-ending` and `--reference-ending` say. Both trainings
get the same minutes, seed and splits; the network learns on train, its best epoch and threshold are chosen on dev, test
is looked at once.
"""

import argparse
import csv
import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from app.contracts.dataset import Dataset
from app.contracts.reference import ReferenceImage, ReferenceRule
from app.inference.preprocess import open_picture
from app.inference.reference import compare
from benchmarks.boards import CLASSES, draw_pair, layout
from benchmarks.detection import read_voc, run

_DRAWN = {"train": 160, "dev": 40, "test": 100}
_DRAWN_PX, _DRAWN_CELLS, _MOST_DEFECTS = 256, 8, 4
_N_TIMED = 30


def write_drawn(folder: Path, rule: ReferenceRule, *, seed: int = 0) -> None:
    """Draw a set of pairs, each board with a layout of its own, in the form that the benchmark reads."""
    generator = np.random.default_rng(seed)
    for name in ("images", "references", "annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for split, n_boards in _DRAWN.items():
        for index in range(n_boards):
            stem = f"{split}{index:03}"
            pair = draw_pair(
                generator,
                layout(generator, cells=_DRAWN_CELLS),
                n_defects=int(generator.integers(0, _MOST_DEFECTS)),
                side_px=_DRAWN_PX,
                max_shift_px=6.0,
                max_turn_deg=1.0,
            )
            name = f"{stem}{rule.image_ending}.png"
            Image.fromarray(pair.picture).save(folder / "images" / name)
            Image.fromarray(pair.reference).save(folder / "references" / f"{stem}{rule.reference_ending}.png")
            (folder / "annotations" / f"{Path(name).stem}.xml").write_text(_voc(pair.defects))
            rows.append((name, split))
    with (folder / "splits.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "split"), *rows])


def _voc(defects) -> str:
    objects = "".join(
        f"<object><name>{CLASSES[label]}</name><bndbox><xmin>{box[0] + 1:.1f}</xmin><ymin>{box[1] + 1:.1f}</ymin>"
        f"<xmax>{box[2]:.1f}</xmax><ymax>{box[3]:.1f}</ymax></bndbox></object>"
        for label, box in defects
    )
    size = f"<size><width>{_DRAWN_PX}</width><height>{_DRAWN_PX}</height><depth>1</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


def with_references(dataset: Dataset, folder: Path, rule: ReferenceRule) -> Dataset:
    """Return the dataset with the reference of each image; ends the program where one is missing."""
    by_key = {}
    for name in ("images", "references"):
        for path in sorted((folder / name).glob("*")) if (folder / name).is_dir() else []:
            if rule.is_reference_name(path.name):
                by_key[rule.key_of_reference(path.name)] = path
    items, missing = [], []
    for item in dataset.items:
        key = rule.key_of_image(Path(item.blob_key).name)
        if key not in by_key:
            missing.append(Path(item.blob_key).name)
            continue
        path = by_key[key]
        with Image.open(path) as picture:
            width_px, height_px = picture.size
        reference = ReferenceImage(
            key=key,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            blob_key=str(path),
            width_px=width_px,
            height_px=height_px,
        )
        items.append(item.model_copy(update={"reference": reference}))
    if missing:
        raise SystemExit(f"{len(missing)} images have no reference, {missing[0]} the first of them.")
    return dataset.model_copy(update={"items": tuple(items), "reference_rule": rule})


def print_alignment(dataset: Dataset) -> None:
    """Print how much pictures differ from their references before and after they are laid onto each other."""
    before, after, seconds = [], [], []
    for item in dataset.items[:_N_TIMED]:
        picture, reference = open_picture(Path(item.blob_key)), open_picture(Path(item.reference.blob_key))
        plain = reference.convert("L").resize(picture.size)
        before.append(np.abs(np.asarray(picture.convert("L"), dtype=float) - np.asarray(plain, dtype=float)).mean())
        started = time.perf_counter()
        joined = compare(picture, reference)
        seconds.append(time.perf_counter() - started)
        after.append(np.asarray(joined)[..., 2].mean())
    size = f"{dataset.items[0].width_px} x {dataset.items[0].height_px} px"
    print(
        f"{len(before)} pairs of {size}: mean difference {np.mean(before):.1f} grey levels as they are, "
        f"{np.mean(after):.1f} aligned and exposed alike; {1000 * np.median(seconds):.0f} ms a pair (median)"
    )


def measure(dataset: Dataset, *, minutes: float, n_seeds: int, is_verbose: bool) -> None:
    """Train both ways and print mAP50 on test with the difference."""
    figures: dict[str, list[float]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(n_seeds):
            for name, given in (("without", dataset.model_copy(update={"reference_rule": None})), ("with", dataset)):
                print(f"Seed {seed}, {name} references, load {os.getloadavg()[0]:.1f}", flush=True)
                trained, seconds, worked_s = run(
                    given, minutes=minutes, seed=seed, cache_dir=Path(cache), is_verbose=is_verbose
                )
                test = trained.metrics["test"]
                figures[name].append(test.map50.value)
                print(
                    f"  {seconds:.0f} s ({worked_s:.0f} processor s): test mAP50 {test.map50.value:.3f} "
                    f"({test.map50.low:.3f}-{test.map50.high:.3f}), mAP50-95 {test.map50_95.value:.3f}; parity "
                    f"{trained.manifest.parity}",
                    flush=True,
                )
    without, compared = (float(np.mean(figures[name])) for name in ("without", "with"))
    print(
        f"Mean of {n_seeds} after {minutes:g} min each: mAP50 {without:.3f} without references, {compared:.3f} with; "
        f"difference {compared - without:+.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--drawn", action="store_true", help="draw a set first, into the folder or a temporary one")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--image-ending", default="_test")
    parser.add_argument("--reference-ending", default="_temp")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    rule = ReferenceRule(kind="name", image_ending=arguments.image_ending, reference_ending=arguments.reference_ending)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or (Path(temporary) if arguments.drawn else None)
        if folder is None:
            raise SystemExit("Name a folder of pairs, or draw some with --drawn.")
        if arguments.drawn:
            write_drawn(folder, rule)
            print("Drawn boards: these figures say that references work, not how much they bring on real parts.")
        if not folder.is_dir():
            raise SystemExit(f"There is no folder {folder}.")
        dataset = with_references(read_voc(folder), folder, rule)
        print_alignment(dataset)
        measure(dataset, minutes=arguments.minutes, n_seeds=arguments.seeds, is_verbose=arguments.verbose)


if __name__ == "__main__":
    main()
