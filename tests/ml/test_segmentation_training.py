"""A segmenter on the toy backbone: bright discs and dark lines on grey texture."""

from contextlib import contextmanager

import numpy as np
import pytest

from app.catalog import NotTrainable
from app.contracts.dataset import AnnotationValue, CategoryRef
from app.contracts.jobs import Progress, TrainSpec
from app.contracts.shapes import Polygon
from app.contracts.tasks import Split, TaskType
from app.inference.bundle import read_bundle
from app.inference.rasters import encode_mask
from app.inference.segmenter import Segmenter
from tests.drawn import Drawn
from worker.ml.evaluation.parity import ParityFailed
from worker.ml.training import segmentation, segmentation_fit, shape_training
from worker.ml.training.phases import Phase
from worker.ml.training.segmentation import train_segmentation

WIDTH_PX, HEIGHT_PX = 80, 64
DISC, LINE = 7, 9
SPEC = TrainSpec(backbone="toy", image_size_px=64)
CATEGORIES = (
    CategoryRef(id=DISC, name="disc", color="#22aa66"),
    CategoryRef(id=LINE, name="line", color="#cc3344"),
)
TUNED_SPEC = SPEC.model_copy(update={"method": "fine_tuning", "seed": 4})

pytestmark = pytest.mark.usefixtures("one_thread")


def draw(generator, n_shapes):
    pixels = generator.normal(120, 8, (HEIGHT_PX, WIDTH_PX))
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    shapes = []
    for place in generator.permutation(2)[:n_shapes]:  # one in each half, so that none covers another
        left = 40 * int(place)
        if generator.random() < 0.5:
            middle = left + generator.integers(14, 26), generator.integers(14, 50)
            marked = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < 81
            pixels[marked] += 90
            shapes.append(AnnotationValue(category_id=DISC, mask=encode_mask(marked)))
        else:
            top = float(generator.integers(8, 46))
            ring = (left + 4.0, top, left + 36.0, top, left + 36.0, top + 8, left + 4.0, top + 8)
            pixels[int(top) : int(top) + 8, left + 4 : left + 36] -= 90
            shapes.append(AnnotationValue(category_id=LINE, polygon=Polygon(rings=(ring,))))
    return pixels, tuple(shapes)


def drawn_as(plan, seed=0):
    return Drawn(plan, draw, TaskType.SEGMENTATION, CATEGORIES, n_shapes=3, seed=seed)


@pytest.fixture(scope="module")
def drawn():
    return drawn_as([Split.TRAIN] * 24 + [Split.DEV] * 8 + [Split.TEST] * 8 + [None] * 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory, drawn):
    cache = tmp_path_factory.mktemp("cache")

    def train(work_dir, *, given=drawn, spec=SPEC, on_event=lambda _event: None):
        return train_segmentation(
            spec,
            given.dataset,
            open_image=given.open_image,
            cache_dir=cache,
            work_dir=work_dir,
            on_event=on_event,
            precision="f32",
        )

    return train


@pytest.fixture(scope="module")
def few():
    return drawn_as([Split.TRAIN] * 9 + [Split.DEV] * 3, seed=1)


@contextmanager
def shortened():
    """Two epochs of three steps in each phase: for tests that do not look at how well it learned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation_fit, "BATCH", 3)
        patch.setattr(segmentation_fit, "_MIN_STEPS_AN_EPOCH", 3)
        patch.setattr(segmentation_fit, "CROP_PX", 32)
        patch.setattr(segmentation, "FROZEN_ALONE", Phase("head", "Head", 2e-3, 2, 1.0))
        patch.setattr(segmentation, "FROZEN", Phase("head", "Head", 2e-3, 2, 0.5))
        patch.setattr(
            segmentation, "TUNED", Phase("tail", "Last stages", 1e-3, 2, 0.5, backbone_share=0.5, block_decay=0.8)
        )
        yield


@pytest.fixture
def short():
    with shortened():  # of one test alone, so that nobody else learns as little
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "FROZEN_ALONE", Phase("head", "Head", 1e-2, 6, 1.0))
        patch.setattr(segmentation_fit, "BATCH", 4)
        return run(tmp_path_factory.mktemp("trained"))


def test_marks_what_was_drawn_and_proves_its_file(trained):
    test = trained.metrics["test"]
    assert test.mean_iou.value > 0.6
    assert test.dice.value > 0.75
    assert test.recall_of_defects.value > 0.8
    assert test.mean_iou.low <= test.mean_iou.value <= test.mean_iou.high
    assert trained.manifest.parity.max_score_difference <= 1e-3
    assert trained.manifest.parity.n_changed_decisions == 0
    assert read_bundle(trained.bundle_dir).manifest == trained.manifest
    assert "dev images" in trained.manifest.decision.reason


def test_has_a_row_for_every_image_with_masks_inside_it(trained, drawn):
    assert {row.image_id for row in trained.predictions} == set(range(len(drawn.content)))
    for row in trained.predictions:
        assert row.scores[1] == max([0.0, *(shape.score for shape in row.shapes)])
        assert all(shape.mask and shape.box.xmax <= WIDTH_PX and shape.box.ymax <= HEIGHT_PX for shape in row.shapes)
        assert all(shape.mask.bounds == shape.box for shape in row.shapes)
        assert len(row.matches) == (len(row.shapes) if row.split else 0)
    assert [row.split for row in trained.predictions if row.image_id >= 40] == [None, None]


def test_the_served_masks_are_the_evaluated_ones(trained, drawn):
    model = Segmenter(read_bundle(trained.bundle_dir))
    for row in trained.predictions[:5]:
        assert model.find(drawn.content[f"image-{row.image_id}"]) == row.shapes


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, run, few):
    with shortened():
        return run(tmp_path_factory.mktemp("tuned"), given=few, spec=TUNED_SPEC)


@pytest.mark.parametrize(("stage", "at"), [("Fitting", 0.3), ("Fitting", 0.5), ("Evaluation", 0.0)])
def test_an_interrupted_fine_tuning_ends_with_the_same_model(run, tuned, short, few, tmp_path, stage, at):
    def stop(event):
        if isinstance(event, Progress) and event.stage == stage and event.fraction >= at:
            raise Stopped

    with pytest.raises(Stopped):
        run(tmp_path, given=few, spec=TUNED_SPEC, on_event=stop)
    said = []
    resumed = run(tmp_path, given=few, spec=TUNED_SPEC, on_event=said.append)
    assert resumed.manifest.model_sha256 == tuned.manifest.model_sha256
    fractions = [event.fraction for event in said if isinstance(event, Progress)]
    assert fractions == sorted(fractions)


def test_a_damaged_image_is_left_out_and_without_dev_no_threshold_is_chosen(run, short, tmp_path):
    broken = drawn_as([Split.TRAIN] * 12 + [Split.TEST] * 2)
    broken.content["image-1"] = b"no picture"
    trained = run(tmp_path, given=broken, spec=SPEC.model_copy(update={"time_budget_s": 1}))
    assert list(trained.unreadable) == [1]
    assert 1 not in {row.image_id for row in trained.predictions}
    assert trained.manifest.decision.reason.startswith("No image")
    # On images that it learned from a network is surer than on others: both stay low.
    assert trained.manifest.decision.threshold == trained.manifest.masks.pixel_threshold == 0.2


def test_images_without_masks_are_not_enough(run, tmp_path):
    empty = drawn_as([Split.TRAIN] * 3)
    items = tuple(item.model_copy(update={"annotations": ()}) for item in empty.dataset.items)
    empty.dataset = empty.dataset.model_copy(update={"items": items})
    with pytest.raises(NotTrainable, match="with a mask"):
        run(tmp_path, given=empty)


def test_a_file_that_disagrees_is_not_published_but_kept(run, short, few, tmp_path, monkeypatch):
    monkeypatch.setattr(shape_training, "MAX_SCORE_DIFFERENCE", -1.0)
    with pytest.raises(ParityFailed):
        run(tmp_path, given=few)
    assert (tmp_path / "bundle/model.onnx").exists()
