"""Images for the demonstration from a folder: pictures, their labels, and their splits where the folder says any.

A folder holds `images/`, and for each type of project:

- detection: `annotations/NAME.xml`, Pascal VOC boxes;
- segmentation: `masks/NAME.png`, 0 = background and anything else a defect; a picture without one is free of defects;
- anomaly: `masks/` as for segmentation, or folders `good/` and `defective/` with pictures instead of `images/`;
- classification: a folder with pictures for each class instead of `images/`.

`splits.csv`, where there is one, has a column `file`, a column `split` (train, dev or test), and may have a column
`defect`, which names the class of a mask. Without it, Kizu divides the images itself.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from app.contracts.tasks import Split, TaskType
from app.core.pictures import probe
from app.datasets.formats.base import BadLabelFile, FoundShape
from app.datasets.formats.masks import encode
from app.images.labels import read_label_file

NORMAL, ABNORMAL = "Normal", "Abnormal"
DEFECT = "defect"
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Sample:
    """A picture of the folder, and what is said of it. `is_bad`: it shows a defect."""

    path: Path
    split: Split | None
    category: str | None = None
    shapes: tuple[FoundShape, ...] | None = None
    is_bad: bool = False


def load_folder(folder: Path, task: TaskType) -> list[Sample]:
    """Return every picture of a folder with its label, in the order of their names.

    Raises:
        SystemExit: The folder has not the form that the type of project wants, or a label cannot be read.
    """
    try:
        samples = _READERS[task](folder, _rows(folder))
    except (OSError, BadLabelFile, csv.Error, ValueError) as error:
        detail = error.detail if isinstance(error, BadLabelFile) else str(error)
        raise SystemExit(f"The folder {folder} cannot be read: {detail}") from error
    if not samples:
        raise SystemExit(f"The folder {folder} has not the form of {task.value}.\n\n{__doc__}")
    return samples


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "splits.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file) if row.get("file")}


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES) if folder.is_dir() else []


def _split(rows: dict[str, dict[str, str]], path: Path) -> Split | None:
    given = rows.get(path.name, {}).get("split")
    return Split(given) if given else None


def _with_boxes(folder: Path, rows: dict[str, dict[str, str]]) -> list[Sample]:
    samples = []
    for path in _pictures(folder / "images"):
        label = folder / "annotations" / f"{path.stem}.xml"
        if not label.is_file():
            continue
        info = probe(path)
        shapes = read_label_file(label.read_bytes(), None, width_px=info.width_px, height_px=info.height_px)
        samples.append(Sample(path, _split(rows, path), shapes=shapes, is_bad=bool(shapes)))
    return samples


def _with_masks(folder: Path, rows: dict[str, dict[str, str]]) -> list[Sample]:
    samples = []
    for path in _pictures(folder / "images"):
        marked = _marked(folder, path)
        name = rows.get(path.name, {}).get("defect") or DEFECT
        shapes = (FoundShape(encode(marked), class_name=name),) if marked is not None else ()
        samples.append(Sample(path, _split(rows, path), shapes=shapes, is_bad=bool(shapes)))
    return samples if any(sample.shapes for sample in samples) else []


def _marked(folder: Path, path: Path) -> np.ndarray | None:
    mask = folder / "masks" / f"{path.stem}.png"
    if not mask.is_file():
        return None
    with Picture.open(mask) as picture:
        marked = np.asarray(picture.convert("L")) > 0
    return marked if marked.any() else None


def _good_and_bad(folder: Path, rows: dict[str, dict[str, str]]) -> list[Sample]:
    judged = [(path, False) for path in _pictures(folder / "good")]
    judged += [(path, True) for path in _pictures(folder / "defective")]
    judged = judged or [(path, _marked(folder, path) is not None) for path in _pictures(folder / "images")]
    return [Sample(path, _split(rows, path), ABNORMAL if bad else NORMAL, is_bad=bad) for path, bad in judged]


def _by_folder(folder: Path, rows: dict[str, dict[str, str]]) -> list[Sample]:
    found = [(path, one.name) for one in sorted(folder.iterdir()) if one.is_dir() for path in _pictures(one)]
    return [Sample(path, _split(rows, path), name) for path, name in found]


_READERS = {
    TaskType.DETECTION: _with_boxes,
    TaskType.SEGMENTATION: _with_masks,
    TaskType.ANOMALY: _good_and_bad,
    TaskType.CLASSIFICATION: _by_folder,
}
