"""Pictures of many shapes are drawn at one scale, and a change of exposure between good parts is taken out."""

import numpy as np
import pytest
from PIL import Image

from app.catalog import BACKBONES
from app.contracts.dataset import DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.tasks import Split
from app.inference.preprocess import letterbox_box, mean_grey, to_pixels
from worker.ml.training.anomaly_input import plan_input

CARD = BACKBONES["toy"]


def items_of(sizes: list[tuple[int, int]]) -> list[DatasetItem]:
    return [
        DatasetItem(
            image_id=index,
            sha256=f"{index:064x}",
            blob_key=str(index),
            width_px=width,
            height_px=height,
            split=Split.TRAIN,
        )
        for index, (width, height) in enumerate(sizes)
    ]


def plan(sizes: list[tuple[int, int]], *, greys: tuple[int, ...] = (90,), side: int = 128, resize: str = "auto"):
    def open_picture(item: DatasetItem) -> Image.Image:
        return Image.new("L", (item.width_px, item.height_px), greys[item.image_id % len(greys)])

    return plan_input(items_of(sizes), TrainSpec(image_size_px=side, resize=resize), CARD, open_picture=open_picture)


MANY_SHAPES = [(100, 300), (600, 300), (300, 300), (250, 280), (600, 150)]


def test_pictures_of_many_shapes_are_drawn_at_one_scale() -> None:
    chosen = plan(MANY_SHAPES)
    assert chosen.resize == "letterbox"
    assert (chosen.width_px, chosen.height_px) == (192, 96)
    scales = [letterbox_box(width, height, chosen)[2] / width for width, height in MANY_SHAPES]
    assert np.ptp(scales) < 0.01


def test_pictures_of_one_shape_fill_an_input_of_that_shape() -> None:
    chosen = plan([(400, 100), (800, 200), (410, 100)])
    assert (chosen.resize, chosen.width_px, chosen.height_px, chosen.max_scale) == ("stretch", 256, 64, None)


def test_asking_for_a_square_gives_a_square() -> None:
    chosen = plan(MANY_SHAPES, resize="stretch")
    assert (chosen.resize, chosen.width_px, chosen.height_px) == ("stretch", 128, 128)


def test_brightness_is_taken_out_only_where_good_parts_differ_in_it() -> None:
    assert plan(MANY_SHAPES, greys=(90, 95, 100)).brightness is None
    chosen = plan(MANY_SHAPES, greys=(60, 90, 90, 90, 160))
    assert chosen.brightness == pytest.approx(90.0)
    generator = np.random.default_rng(0)
    texture = generator.normal(60, 12, (300, 300)).clip(0, 255)
    dark, bright = (np.round(gain * texture).astype(np.uint8) for gain in (1.0, 2.0))
    pictures = [to_pixels(one, chosen).astype(float) for one in (dark, bright)]
    assert abs(pictures[0] - pictures[1]).mean() < 1.0
    left, top, width, height = letterbox_box(300, 300, chosen)
    inner = pictures[0][top : top + height, left : left + width]
    assert mean_grey(Image.fromarray(inner.astype(np.uint8))) == pytest.approx(90.0, abs=1.0)


def test_a_picture_that_cannot_be_read_is_passed_over() -> None:
    def broken(_item: DatasetItem) -> Image.Image:
        raise OSError("broken")

    assert plan_input(items_of(MANY_SHAPES), TrainSpec(), CARD, open_picture=broken).brightness is None
