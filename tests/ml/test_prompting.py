"""Learning from strokes: which places they cover, what they teach, and that the finished file says the same."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.catalog import BACKBONES, NotTrainable
from app.contracts.bundle import Preprocessing
from app.contracts.dataset import CategoryRef, DatasetItem
from app.contracts.strokes import Stroke
from worker.ml.prompting.classifier import Painted, at_places, fit
from worker.ml.prompting.maps import PixelMaps, plan
from worker.ml.prompting.marking import Marking
from worker.ml.prompting.painted import NOTHING, painted_places, seen_places

SIZE = (160, 120)
DENT = CategoryRef(id=7, name="dent", color="#0072b2")
LETTERBOX = Preprocessing(
    width_px=256, height_px=256, resize="letterbox", resample="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
)


def item(folder: Path, number: int, spots: list[tuple[int, int]]) -> DatasetItem:
    """Draw a grey picture with bright spots of 24 px."""
    pixels = np.random.default_rng(number).normal(90, 6, SIZE[::-1])
    for left, top in spots:
        pixels[top : top + 24, left : left + 24] += 110
    path = folder / f"{number}.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return DatasetItem(
        image_id=number, sha256=f"{number:064}", blob_key=str(path), width_px=SIZE[0], height_px=SIZE[1], split=None
    )


def marking(folder: Path, items: list[DatasetItem], strokes: dict[int, list[Stroke]]) -> Marking:
    return Marking(
        items,
        strokes,
        [DENT],
        cache_dir=folder / "cache",
        open_image=lambda one: Path(one.blob_key),
        card=BACKBONES["toy"],
    )


def line(category_id: int | None, *points: float, radius_px: float = 5.0) -> Stroke:
    return Stroke(category_id=category_id, radius_px=radius_px, points=points)


def test_a_stroke_covers_the_places_under_it_and_the_later_one_lies_above() -> None:
    strokes = [line(7, 20, 60, 140, 60), line(None, 80, 60), line(99, 10, 10)]
    places = painted_places(strokes, {7: 0}, width_px=160, height_px=120, preprocessing=LETTERBOX)
    scale, top = 256 / 160, 32  # the picture lies in the middle of the square
    at = lambda x, y: places[int((y * scale + top) / 4), int(x * scale / 4)]  # noqa: E731
    assert at(30, 60) == 1
    assert at(80, 60) == 0
    assert at(30, 90) == NOTHING
    assert at(10, 10) == NOTHING  # a class that is not there
    assert (places != NOTHING).sum() < 260


def test_a_dab_thinner_than_a_place_still_covers_one_and_borders_are_never_seen() -> None:
    places = painted_places(
        [line(7, 0, 0, radius_px=0.5), line(7, 90, 31, radius_px=0.5)], {7: 0}, width_px=160, height_px=120,
        preprocessing=LETTERBOX,
    )  # fmt: skip
    assert (places == 1).sum() >= 1
    seen = seen_places(160, 120, LETTERBOX)
    assert not seen[:8].any()
    assert seen[8:56].all()
    assert (places[~seen] == NOTHING).all()


def test_strokes_on_one_image_mark_the_others(tmp_path: Path) -> None:
    items = [item(tmp_path, 1, [(30, 40)]), item(tmp_path, 2, [(100, 20)]), item(tmp_path, 3, [])]
    work = marking(tmp_path, items, {1: [line(7, 38, 50, 48, 54), line(None, 100, 20, 140, 100)]})
    found = {one.image_id: shapes for one, shapes in work.mark(work.learn(), items)}
    for image_id, left, top in ((1, 30, 40), (2, 100, 20)):
        box = found[image_id][0].box
        assert box.xmin == pytest.approx(left, abs=6)
        assert box.ymin == pytest.approx(top, abs=6)
        assert box.xmax == pytest.approx(left + 24, abs=6)
    assert not found[3]
    again = marking(tmp_path, items, {1: [line(7, 38, 50, 48, 54), line(None, 100, 20, 140, 100)]})
    assert dict(again.mark(again.learn(), items)) == dict(work.mark(work.learn(), items))


def test_a_correction_takes_a_mask_away(tmp_path: Path) -> None:
    items = [item(tmp_path, 1, [(30, 40)]), item(tmp_path, 2, [(100, 20)])]
    strokes = {1: [line(7, 38, 50, 48, 54)], 2: [line(None, 108, 30, 118, 34)]}
    work = marking(tmp_path, items, strokes)
    found = {one.image_id: shapes for one, shapes in work.mark(work.learn(), items)}
    before = marking(tmp_path, items, {1: strokes[1]})
    marked = {one.image_id: shapes for one, shapes in before.mark(before.learn(), items)}
    assert marked[2]
    area = lambda shapes: sum((s.box.xmax - s.box.xmin) * (s.box.ymax - s.box.ymin) for s in shapes)  # noqa: E731
    assert area(found[2]) < area(marked[2])


def test_an_unreadable_image_is_left_out_and_named(tmp_path: Path) -> None:
    items = [item(tmp_path, 1, [(30, 40)]), item(tmp_path, 2, [])]
    Path(items[1].blob_key).write_bytes(b"nothing")
    work = marking(tmp_path, items, {1: [line(7, 40, 52)]})
    classifier = work.learn()
    assert list(work.unreadable) == [2]
    assert [one.image_id for one, _ in work.mark(classifier, items)] == [1]
    Path(items[0].blob_key).write_bytes(b"nothing")
    with pytest.raises(NotTrainable, match="No stroke of a class"):
        marking(tmp_path / "other", items, {1: [line(7, 40, 52)]}).learn()


def test_scores_sum_to_one_and_large_images_get_masks_of_their_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [item(tmp_path, 1, [(30, 40)])]
    work = marking(tmp_path, items, {1: [line(7, 38, 50, 48, 54)]})
    classifier = work.learn()
    scores = classifier.scores(work.maps.read(items[0]))
    assert scores.sum(axis=0) == pytest.approx(1.0, abs=1e-5)
    (usual, *_) = work.find(classifier, items[0])
    monkeypatch.setattr("worker.ml.prompting.marking._MOST_PX", 5_000)
    (enlarged, *_) = work.find(classifier, items[0])
    assert enlarged.mask is not None
    assert enlarged.box.xmin == pytest.approx(usual.box.xmin, abs=4)
    assert enlarged.box.xmax == pytest.approx(usual.box.xmax, abs=4)


def test_channels_of_a_place_are_those_of_the_enlarged_map(tmp_path: Path) -> None:
    items = [item(tmp_path, 1, [(30, 40)])]
    maps = PixelMaps(
        BACKBONES["toy"],
        plan(items, BACKBONES["toy"]),
        cache_dir=tmp_path,
        open_image=lambda one: Path(one.blob_key),
    )
    assert maps.make(items) == {}
    levels = maps.read(items[0])
    rows, columns = np.array([0, 7, 40]), np.array([3, 12, 63])
    painted = Painted(at_places(levels, rows, columns), np.array([1, 0, 1]))
    others = at_places(levels, np.arange(64), np.arange(64))
    classifier = fit([painted], others, n_categories=1, channels=maps.channels)
    logits = painted.channels @ classifier.weights + classifier.bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = (shares / shares.sum(axis=1, keepdims=True)) @ classifier.groups()
    assert pytest.approx(expected, abs=1e-4) == classifier.scores(levels)[:, rows, columns].T
