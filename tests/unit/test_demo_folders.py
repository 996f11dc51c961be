"""The folders that the demonstration takes: each form, with and without splits, and what is said of another one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli.demo_folders import load_folder
from app.contracts.shapes import Box, Mask
from app.contracts.tasks import Split, TaskType

VOC = (
    "<annotation><size><width>8</width><height>6</height></size><object><name>dent</name><bndbox><xmin>2</xmin>"
    "<ymin>1</ymin><xmax>4</xmax><ymax>3</ymax></bndbox></object></annotation>"
)


def picture(path: Path, *, marked: bool = False) -> None:
    pixels = np.zeros((6, 8), np.uint8)
    pixels[1:3, 2:5] = 255 if marked else 0
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "images" / name)
    picture(tmp_path / "masks" / "a.png", marked=True)
    (tmp_path / "splits.csv").write_text("file,defect,split\na.png,crack,test\nb.png,free,train\n")
    return tmp_path


def test_boxes_are_read_from_pascal_voc(folder: Path) -> None:
    (folder / "annotations").mkdir()
    (folder / "annotations" / "a.xml").write_text(VOC)
    (sample,) = load_folder(folder, TaskType.DETECTION)  # nobody said anything of the other one
    assert sample.split is Split.TEST
    assert sample.shapes is not None
    assert sample.shapes[0].shape == Box(xmin=1, ymin=0, xmax=4, ymax=3)
    assert sample.shapes[0].class_name == "dent"


def test_masks_are_named_by_the_table(folder: Path) -> None:
    bad, good = load_folder(folder, TaskType.SEGMENTATION)
    assert bad.shapes is not None
    assert isinstance(bad.shapes[0].shape, Mask)
    assert bad.shapes[0].class_name == "crack"
    assert good.shapes == ()
    assert (bad.is_bad, good.is_bad) == (True, False)


def test_what_has_a_mask_is_abnormal(folder: Path) -> None:
    assert [(one.category, one.split) for one in load_folder(folder, TaskType.ANOMALY)] == [
        ("Abnormal", Split.TEST),
        ("Normal", Split.TRAIN),
    ]


def test_folders_name_good_and_defective_or_classes(tmp_path: Path) -> None:
    for kind in ("good", "defective"):
        picture(tmp_path / kind / "one.png")
    found = load_folder(tmp_path, TaskType.ANOMALY)
    assert [(one.category, one.split) for one in found] == [("Normal", None), ("Abnormal", None)]
    assert [one.category for one in load_folder(tmp_path, TaskType.CLASSIFICATION)] == ["defective", "good"]


@pytest.mark.parametrize("task", list(TaskType))
def test_another_form_is_refused_with_the_forms_that_are_read(tmp_path: Path, task: TaskType) -> None:
    with pytest.raises(SystemExit, match="has not the form"):
        load_folder(tmp_path, task)


def test_a_label_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "annotations").mkdir()
    (folder / "annotations" / "a.xml").write_text("<annotation>")
    with pytest.raises(SystemExit, match="cannot be read: The label is not a readable XML"):
        load_folder(folder, TaskType.DETECTION)
