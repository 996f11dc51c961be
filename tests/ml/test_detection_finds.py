"""Windows, suppression and seams of a detector, the figures made of its finds, and what it learns from."""

import hashlib
import io
import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from app.catalog import BACKBONES
from app.contracts.bundle import FindRule, Preprocessing, Tiling
from app.contracts.dataset import AnnotationValue, DatasetItem
from app.contracts.jobs import Augmentations, TrainSpec
from app.contracts.shapes import Box, Polygon
from app.contracts.tasks import Split
from app.inference.bootstrap import Estimate
from app.inference.detection import Finds, as_shapes, merge, pairwise_iou, select, suppress
from app.inference.shape_figures import average_precision50, map50_interval
from app.inference.windows import Window, frame_of, windows_of
from worker.ml.data.augmentation import Augmentation
from worker.ml.data.crops import Marked, make_crops
from worker.ml.evaluation.coco import Boxed, average_precision, match
from worker.ml.evaluation.detection import best_threshold, found_shapes, measure_finds
from worker.ml.evaluation.score_calibration import fit_score_map
from worker.ml.heads.assignment import Truth, assign, generalised_iou
from worker.ml.training.input_plan import plan_input


def boxed(boxes, labels, scores=None):
    values = None if scores is None else np.array(scores, dtype=float)
    return Boxed(np.array(boxes, dtype=float).reshape(-1, 4), np.array(labels, dtype=np.int64), values)


def prepared(side=64, resize="stretch"):
    return Preprocessing(
        width_px=side, height_px=side, resize=resize, resample="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )


# Suppression


def library_nms(boxes, scores, max_overlap):
    """Return what ONNX Runtime's NonMaxSuppression keeps, for boxes of one class."""
    limits = [
        helper.make_tensor(name, kind, [1], [value])
        for name, kind, value in (("most", TensorProto.INT64, 1000), ("overlap", TensorProto.FLOAT, max_overlap))
    ]
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["kept"])
    graph = helper.make_graph(
        [node],
        "nms",
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, None, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, None]),
        ],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, [None, 3])],
        initializer=limits,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"boxes": boxes[None].astype(np.float32), "scores": scores[None, None].astype(np.float32)}
    return session.run(None, feeds)[0][:, 2]


@pytest.mark.parametrize("seed", range(5))
def test_suppression_keeps_what_a_kept_library_keeps(seed):
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 80, (200, 2)).astype(np.float32)
    boxes = np.concatenate([low, low + generator.uniform(5, 40, (200, 2)).astype(np.float32)], axis=1)
    scores = np.sort(generator.permutation(200) / 200)[::-1]
    ours = suppress(boxes, np.zeros(200, dtype=np.int64), 0.5)
    assert ours.tolist() == library_nms(boxes, scores, 0.5).tolist()
    assert 0 < len(ours) < 200


def test_suppression_leaves_other_classes_alone_and_takes_nothing():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], dtype=float)
    assert suppress(boxes, np.array([0, 1]), 0.5).tolist() == [0, 1]
    assert suppress(boxes, np.array([0, 0]), 0.5).tolist() == [0]
    assert suppress(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), 0.5).tolist() == []


def test_a_box_that_stays_moves_to_what_its_own_class_says_of_the_place():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [0, 0, 10, 10], [40, 40, 50, 50]], dtype=float)
    scores = np.array([[0.6, 0.0], [0.2, 0.0], [0.0, 0.5], [0.1, 0.0]])
    rule = FindRule(score_floor=0.05, max_overlap=0.5, vote_overlap=0.6)
    found = select(boxes, scores, rule)
    assert found.scores.tolist() == [0.6, 0.5, 0.1]
    assert found.labels.tolist() == [0, 1, 0]
    # The two of class 0 share 80 of 120 px: (0.6 * 0 + 0.2 * 2) / 0.8 to the right.
    np.testing.assert_allclose(found.boxes, [[0.5, 0, 10.5, 10], [0, 0, 10, 10], [40, 40, 50, 50]])
    alone = select(boxes, scores, rule.model_copy(update={"vote_overlap": None}))
    np.testing.assert_allclose(alone.boxes, boxes[[0, 2, 3]])
    assert len(select(boxes, scores, rule.model_copy(update={"score_floor": 0.9}))) == 0


# Windows and seams


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 3000), height=st.integers(1, 3000), side=st.integers(64, 900), overlap=st.floats(0.05, 0.6))
def test_windows_cover_the_picture_and_share_what_they_shall(width, height, side, overlap):
    tiling = Tiling(side_px=side, overlap_px=round(side * overlap))
    windows = windows_of(width, height, tiling)
    covered = np.zeros((height, width), dtype=bool)
    for window in windows:
        assert window.left >= 0
        assert window.top >= 0
        assert window.left + window.width <= width
        assert window.top + window.height <= height
        covered[window.top : window.top + window.height, window.left : window.left + window.width] = True
    assert covered.all()
    lefts = sorted({window.left for window in windows})
    assert all(
        first + min(side, width) - second >= tiling.overlap_px - 1 for first, second in itertools.pairwise(lefts)
    )


def seen_through(windows, size, things):
    """Return what a perfect detector finds in each window: every thing, cut at the window's edges."""
    found = []
    for window in windows:
        boxes = np.array(things, dtype=float) - [window.left, window.top] * 2
        cut = np.clip(boxes, 0, [window.width, window.height] * 2)
        keep = (cut[:, 2:] - cut[:, :2]).min(axis=1) > 2
        found.append(Finds(cut[keep], np.linspace(0.9, 0.8, len(cut))[keep], np.zeros(keep.sum(), dtype=np.int64)))
    return merge(found, windows, size, FindRule())


@pytest.mark.parametrize(
    "thing",
    [
        (95, 40, 125, 70),  # in the overlap of two windows: seen whole by both
        (60, 40, 110, 70),  # seen whole by one, cut by the other
        (10, 90, 190, 110),  # larger than any window: only pieces are seen
        (20, 20, 180, 180),  # over all four windows
        (0, 0, 200, 200),
        (5, 5, 30, 30),  # nowhere near a seam
    ],
)
def test_a_thing_across_a_seam_is_found_once_and_whole(thing):
    size = (200, 200)
    windows = windows_of(*size, Tiling(side_px=120, overlap_px=40))
    assert len(windows) == 4
    finds = seen_through(windows, size, [thing])
    assert len(finds) == 1
    np.testing.assert_allclose(finds.boxes[0], thing)


def test_neighbours_at_a_seam_stay_two():
    size = (200, 100)
    windows = windows_of(*size, Tiling(side_px=120, overlap_px=40))
    things = [(30, 10, 75, 30), (30, 60, 75, 80), (130, 10, 170, 30)]
    assert len(seen_through(windows, size, things)) == 3


def test_a_picture_no_larger_than_a_window_is_read_whole():
    assert windows_of(100, 60, Tiling(side_px=100, overlap_px=20)) == [Window(0, 0, 100, 60)]
    assert windows_of(5000, 60, None) == [Window(0, 0, 5000, 60)]


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_boxes_go_to_the_input_and_back(resize):
    frame = frame_of(300, 90, prepared(resize=resize))
    boxes = np.array([[0, 0, 300, 90], [10.5, 20, 30, 40]])
    there = frame.to_input(boxes)
    assert there.min() >= 0
    assert there.max() <= 64
    np.testing.assert_allclose(frame.to_original(there), boxes, atol=1e-3)


def test_finds_leave_as_boxes_inside_the_picture():
    finds = Finds(np.array([[-3, 2, 50, 99], [60, 1, 70, 2.0]]), np.array([0.9, 0.5]), np.array([1, 0]))
    shapes = as_shapes(finds, 40, 60)
    assert [shape.box for shape in shapes] == [Box(xmin=0, ymin=2, xmax=40, ymax=60)]
    assert shapes[0].category_index == 1


# Figures


def test_figures_count_right_wrong_missed_and_mixed_up():
    truth = [boxed([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 1]), boxed([[5, 5, 15, 15]], [0]), boxed([], [])]
    finds = [
        boxed([[0, 0, 10, 9], [20, 20, 41, 40], [50, 50, 60, 60]], [0, 0, 1], [0.9, 0.8, 0.3]),
        boxed([[5, 5, 15, 14]], [0], [0.7]),
        boxed([[1, 1, 2, 2]], [2], [0.5]),
    ]
    measured = measure_finds(truth, finds, 3, threshold=0.4)
    assert (measured.n_images, measured.n_drawn) == (3, 3)
    assert measured.precision.value == pytest.approx(2 / 4)
    assert measured.recall.value == pytest.approx(2 / 3)
    assert measured.confusion == ((2, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))
    assert [row.n_drawn for row in measured.classes] == [2, 1, 0]
    assert measured.classes[2].ap50 is None
    assert measured.map50.value == pytest.approx((measured.classes[0].ap50 + 0.0) / 2)
    threshold, f1 = best_threshold(measured.curve)
    assert f1 == pytest.approx(2 * 2 / (3 + 3))
    assert 0.5 < threshold <= 0.7


def test_the_resampled_average_precision_is_the_one_of_the_kept_library():
    generator = np.random.default_rng(3)
    truth, finds = [], []
    for _ in range(60):
        drawn = generator.integers(0, 80, (3, 2)) * np.ones((3, 2))
        boxes = np.concatenate([drawn, drawn + 18], axis=1)
        truth.append(boxed(boxes, generator.integers(0, 2, 3)))
        moved = np.concatenate([boxes + generator.normal(0, 3, (3, 4)), boxes + 40])
        finds.append(boxed(moved, generator.integers(0, 2, 6), generator.random(6).round(2)))
    library = average_precision(truth, finds, 2)
    shapes = found_shapes(truth, finds, 2)
    for label, (ap50, _) in enumerate(library.by_category):
        assert average_precision50(shapes, label) == pytest.approx(ap50, abs=0.01)
    low, high = map50_interval(shapes)
    assert low < library.map50 < high


def test_figures_of_nothing_are_undefined_not_zero():
    nothing = [boxed([], [])]
    measured = measure_finds(nothing, [boxed([], [], [])], 2, threshold=0.5)
    assert {measured.map50, measured.precision, measured.recall, measured.f1} == {Estimate()}
    assert best_threshold(measured.curve) is None
    missed = measure_finds([boxed([[0, 0, 5, 5]], [1])], [boxed([], [], [])], 2, threshold=0.5)
    assert (missed.map50.value, missed.recall.value, missed.f1.value) == (0.0, 0.0, 0.0)
    assert missed.confusion[1][2] == 1


@pytest.mark.parametrize(("centre", "scale"), [(-4.0, 0.4), (0.0, 3.0)])
def test_a_score_map_makes_scores_the_share_of_right_finds(centre, scale):
    generator = np.random.default_rng(0)
    truth, finds = [], []
    for _ in range(400):
        meaning = generator.normal(0, 2, 3)
        is_right = generator.random(3) < 1 / (1 + np.exp(-meaning))
        boxes = np.array([[20 * place, 0, 20 * place + 10, 10] for place in range(3)])
        raw = 1 / (1 + np.exp(-(centre + scale * meaning)))
        truth.append(boxed(boxes[is_right], np.zeros(is_right.sum())))
        finds.append(boxed(boxes, [0, 0, 0], raw))
    found = fit_score_map(truth, finds, 1)
    assert found.slope == pytest.approx(1 / scale, rel=0.15)
    assert found.shift == pytest.approx(-centre / scale, abs=0.3)


def test_a_score_map_needs_right_and_wrong_finds_and_never_turns_the_order():
    one = np.array([[0, 0, 10, 10]])
    truth = [boxed(one, [0])] * 20
    assert fit_score_map(truth, [boxed(one, [0], [0.5])] * 20, 1) is None
    apart = [boxed(one, [0], [0.03])] * 10 + [boxed(one + 50, [0], [0.02])] * 10
    clear = fit_score_map(truth, apart, 1)
    assert 0 < clear.slope < np.inf
    upside_down = [boxed(one, [0], [0.1])] * 10 + [boxed(one + 50, [0], [0.9])] * 10
    assert fit_score_map(truth, upside_down, 1).slope > 0


def test_perfect_finds_have_an_average_precision_of_one():
    truth = [boxed([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 1])]
    finds = [boxed(truth[0].boxes, truth[0].labels, [0.9, 0.8])]
    assert average_precision(truth, finds, 2).map50_95 == pytest.approx(1.0)
    assert all(pair.find is not None and pair.truth is not None for pair in match(truth, finds, 2, by_category=True))


# What it learns from


def item_of(pixels, annotations, content):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    key = hashlib.sha256(buffer.getvalue()).hexdigest()
    content[key] = buffer.getvalue()
    height, width = pixels.shape[:2]
    return DatasetItem(
        image_id=1,
        sha256=key,
        blob_key=key,
        width_px=width,
        height_px=height,
        split=Split.TRAIN,
        annotations=annotations,
    )


def test_crops_hold_the_marks_where_the_pixels_are(tmp_path):
    pixels = np.full((80, 200), 60, dtype=np.uint8)
    pixels[30:50, 90:130] = 250
    shape = Polygon(rings=((90, 30, 130, 30, 130, 50, 90, 50),))
    content = {}
    item = item_of(pixels, (AnnotationValue(category_id=5, polygon=shape),), content)
    crops = make_crops(
        [item],
        index_of={5: 1},
        preprocessing=prepared(),
        tiling=Tiling(side_px=80, overlap_px=20),
        open_image=lambda one: content[one.blob_key],
        path=tmp_path / "train.npy",
        at_most=10,
    )
    assert len(crops) == 3
    assert sum(len(marked.labels) for marked in crops.marked) >= 1
    for picture, marked in zip(crops.pixels, crops.marked, strict=True):
        for (x0, y0, x1, y1), label in zip(marked.boxes, marked.labels, strict=True):
            assert label == 1
            inside = picture[round(y0) + 1 : round(y1) - 1, round(x0) + 1 : round(x1) - 1]
            assert inside.min() > 240


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_changed_picture_carries_its_box_along(seed):
    pixels = np.full((64, 64, 3), 30, dtype=np.uint8)
    pixels[20:36, 10:40] = 220
    marked = Marked(np.array([[10, 20, 40, 36]], dtype=np.float32), np.array([3]))
    augmentation = Augmentation(
        Augmentations(brightness=0.05, contrast=0.05, noise=2.0), quarter_turns=True, pad_value=30
    )
    changed, moved = augmentation.apply(pixels, marked, np.random.default_rng(seed))
    bright = changed[..., 0] > 125
    if len(moved.labels) == 0:
        assert bright.mean() < 0.08
        return
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    np.testing.assert_allclose(moved.boxes[0], [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=1.6)


def item_with(width, height, boxes):
    return DatasetItem(
        image_id=1,
        sha256="0",
        blob_key="0",
        width_px=width,
        height_px=height,
        split=Split.TRAIN,
        annotations=tuple(
            AnnotationValue(category_id=1, box=Box(xmin=x, ymin=y, xmax=x + w, ymax=y + h)) for x, y, w, h in boxes
        ),
    )


@pytest.mark.parametrize(
    ("width", "height", "box_px", "side", "is_tiled"),
    [
        (200, 200, 60, 192, False),  # small images: as they are
        (1000, 1000, 300, 224, False),  # large things: the backbone's own size is enough
        (1000, 1000, 50, 480, False),  # middling ones: larger
        (4000, 3000, 40, 512, True),  # small things on large pictures: windows
    ],
)
def test_the_input_follows_the_size_of_what_was_drawn(width, height, box_px, side, is_tiled):
    items = [item_with(width, height, [(10, 10, box_px, box_px)])]
    preprocessing, tiling = plan_input(items, TrainSpec(), BACKBONES["efficientnet_lite0"])
    assert preprocessing.width_px == side
    assert (tiling is not None) == is_tiled
    if tiling is not None:
        assert tiling.overlap_px >= box_px
        assert len(windows_of(width, height, tiling)) <= 81


# How it learns


def test_points_inside_a_box_answer_for_it_and_one_point_for_one_box():
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    points = torch.stack([x, y], -1).reshape(-1, 2) * 8.0 + 4
    strides = torch.full((64,), 8.0)
    boxes = torch.cat([points - 12, points + 12], 1)[None]
    truth = Truth(
        torch.tensor([[[8.0, 8, 32, 32], [24, 24, 60, 60], [50, 2, 52, 4], [0, 0, 0, 0]]]),
        torch.tensor([[0, 1, 1, 0]]),
        torch.tensor([[True, True, True, False]]),
    )
    targets = assign(torch.full((1, 64, 2), 0.1), boxes, points, strides, truth)
    answering = targets.weights[0] > 0
    assert ((targets.scores[0] > 0).sum(1) <= 1).all()
    assert (targets.scores[0].amax(1) == targets.weights[0]).all()
    # Each real box has points, the tiny one that holds none of them too.
    wanted = {tuple(box.tolist()) for box in targets.boxes[0][answering]}
    assert len(wanted) == 3
    overlaps = pairwise_iou(boxes[0].numpy(), truth.boxes[0].numpy())
    assert targets.weights[0].max() == pytest.approx(overlaps.max(), abs=1e-5)


def test_generalised_overlap_is_one_for_equals_and_negative_far_away():
    first = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 5]])
    np.testing.assert_allclose(generalised_iou(first, second), [1.0, -1 / 3, 0.5], atol=1e-6)
