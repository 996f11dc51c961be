"""A detector on the toy backbone: bright squares and dark bars on grey texture."""

from contextlib import contextmanager

import numpy as np
import pytest

from app.catalog import NotTrainable
from app.contracts.dataset import AnnotationValue, CategoryRef
from app.contracts.jobs import LogLine, Progress, TrainSpec
from app.contracts.shapes import Box
from app.contracts.tasks import Split, TaskType
from app.inference.bundle import read_bundle
from app.inference.engine import Engine
from app.inference.finder import Finder
from app.inference.sessions.openvino import supported_precision
from tests.drawn import Drawn
from worker.ml.evaluation.parity import ParityFailed
from worker.ml.training import detection, detection_fit, shape_training
from worker.ml.training.detection import train_detection
from worker.ml.training.phases import Phase

SIDE_PX = 64
SQUARE, BAR = 7, 9
SPEC = TrainSpec(backbone="toy", image_size_px=64, head="detector")
CATEGORIES = (
    CategoryRef(id=SQUARE, name="square", color="#22aa66"),
    CategoryRef(id=BAR, name="bar", color="#cc3344"),
)
TUNED_SPEC = SPEC.model_copy(update={"method": "fine_tuning", "seed": 4})

pytestmark = pytest.mark.usefixtures("one_thread")


def draw(generator, n_shapes):
    pixels = generator.normal(120, 8, (SIDE_PX, SIDE_PX))
    shapes = []
    for place in generator.permutation(4)[:n_shapes]:  # one in each quarter, so that none covers another
        left, top = int(place % 2 * 32 + generator.integers(1, 8)), int(place // 2 * 32 + generator.integers(1, 8))
        is_square = generator.random() < 0.5
        width, height = (18, 18) if is_square else (22, 10)
        pixels[top : top + height, left : left + width] += 90 if is_square else -90
        box = Box(xmin=left, ymin=top, xmax=left + width, ymax=top + height)
        shapes.append(AnnotationValue(category_id=SQUARE if is_square else BAR, box=box))
    return pixels, tuple(shapes)


def drawn_as(plan, seed=0):
    return Drawn(plan, draw, TaskType.DETECTION, CATEGORIES, n_shapes=4, seed=seed)


@pytest.fixture(scope="module")
def drawn():
    return drawn_as([Split.TRAIN] * 40 + [Split.DEV] * 12 + [Split.TEST] * 12 + [None] * 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory, drawn):
    cache = tmp_path_factory.mktemp("cache")

    def train(work_dir, *, given=drawn, spec=SPEC, on_event=lambda _event: None):
        return train_detection(
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
        patch.setattr(detection_fit, "BATCH", 3)
        patch.setattr(detection_fit, "_MIN_STEPS_AN_EPOCH", 3)
        patch.setattr(detection, "FROZEN_ALONE", Phase("head", "Head", 2e-3, 2, 1.0))
        patch.setattr(detection, "TUNED", Phase("whole", "Head and last stages", 1e-3, 2, 1.0, backbone_share=0.5))
        yield


@pytest.fixture
def short():
    with shortened():  # of one test alone, so that nobody else learns as little
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "FROZEN_ALONE", Phase("head", "Head", 5e-3, 6, 1.0))
        patch.setattr(detection_fit, "BATCH", 8)
        return run(tmp_path_factory.mktemp("trained"))


def test_finds_what_was_drawn_and_proves_its_file(trained):
    test = trained.metrics["test"]
    assert test.map50.value > 0.8
    assert test.f1.value > 0.7
    assert {row.n_drawn for row in test.classes} != {0}
    assert trained.manifest.parity.max_score_difference <= 1e-3
    assert trained.manifest.parity.n_changed_decisions == 0
    assert trained.manifest.parity.engine.endswith("f32")
    bundle = read_bundle(trained.bundle_dir)
    assert bundle.manifest == trained.manifest
    served_in = Finder(bundle).precision
    assert served_in == trained.manifest.precision == supported_precision("bf16")
    others = [check.engine.split()[-1] for check in trained.manifest.parity_other]
    assert others == ([] if served_in == "f32" else [served_in])
    assert "dev images" in trained.manifest.decision.reason


def test_the_figures_agree_with_each_other(trained):
    for measured in trained.metrics.values():
        grid = np.array(measured.confusion)
        assert grid[:2].sum() == measured.n_drawn
        assert grid[:, :2].sum() == sum(row.n_found for row in measured.classes)
        at = next(point for point in measured.curve if point.threshold >= measured.threshold)
        assert at.f1 == pytest.approx(measured.f1.value)


def test_has_a_row_for_every_image_with_boxes_inside_it(trained, drawn):
    assert {row.image_id for row in trained.predictions} == set(range(len(drawn.content)))
    for row in trained.predictions:
        assert row.true_category_id is None
        assert row.scores[1] == max([0.0, *(shape.score for shape in row.shapes)])
        assert all(shape.box.xmax <= SIDE_PX and shape.box.ymax <= SIDE_PX for shape in row.shapes)
    assert [row.split for row in trained.predictions if row.image_id >= 64] == [None, None]


def test_each_find_knows_what_it_was_matched_with(trained):
    by_split = {split: [row for row in trained.predictions if row.split == split] for split in trained.metrics}
    for split, measured in trained.metrics.items():
        pairs = [
            (shape.score, match, row.drawn, shape)
            for row in by_split[split]
            for shape, match in zip(row.shapes, row.matches, strict=True)
        ]
        for point in measured.curve[::20]:
            counts = [match.own is not None for score, match, *_ in pairs if score >= point.threshold]
            assert (sum(counts), len(counts)) == (point.n_right, point.n_right + point.n_extra)
        for _, match, drawn, shape in pairs:
            if match.own is not None:
                assert drawn[match.own].category_id == (SQUARE, BAR)[shape.category_index]
    assert all(not row.matches and not row.drawn for row in trained.predictions if row.split is None)


def test_the_engine_serves_the_evaluated_answer(trained, drawn):
    model = Engine().get(trained.bundle_dir)
    row = trained.predictions[0]
    (answer,) = model.predict([drawn.content[f"image-{row.image_id}"]])
    assert (answer.shapes, answer.scores.scores) == (row.shapes, row.scores)
    assert answer.decision.category_index == int(row.scores[1] >= trained.manifest.decision.threshold)
    (strict,) = model.predict([drawn.content[f"image-{row.image_id}"]], threshold=1.0)
    assert (strict.decision.category_index, strict.decision.ng_score) == (0, row.scores[1])
    with pytest.raises(LookupError):
        model.explain(drawn.content["image-0"])


def test_the_served_finds_are_the_evaluated_ones(trained, drawn):
    finder = Finder(read_bundle(trained.bundle_dir))
    for row in trained.predictions[:5]:
        assert finder.find(drawn.content[f"image-{row.image_id}"]) == row.shapes


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, run, few):
    with shortened():
        return run(tmp_path_factory.mktemp("tuned"), given=few, spec=TUNED_SPEC)


@pytest.mark.parametrize(("stage", "at"), [("Features", 0.0), ("Fitting", 0.3), ("Fitting", 0.5), ("Evaluation", 0.0)])
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


def test_fine_tuning_changes_the_backbone_and_a_seed_changes_the_model(run, tuned, short, few, tmp_path):
    other = run(tmp_path / "b", given=few, spec=TUNED_SPEC.model_copy(update={"seed": 1}))
    frozen = run(tmp_path / "c", given=few)
    assert len({model.manifest.model_sha256 for model in (tuned, other, frozen)}) == 3


def test_a_budget_of_time_decides_on_the_epochs(run, short, few, tmp_path):
    said = []
    run(tmp_path, given=few, spec=SPEC.model_copy(update={"time_budget_s": 1}), on_event=said.append)
    assert any(isinstance(event, LogLine) and event.text.startswith("Head:") for event in said)
    assert (tmp_path / "head-epochs.json").exists()


def test_a_damaged_image_is_left_out(run, short, tmp_path):
    broken = drawn_as([Split.TRAIN] * 12 + [Split.TEST] * 2)
    broken.content["image-1"] = b"no picture"
    trained = run(tmp_path, given=broken)
    assert list(trained.unreadable) == [1]
    assert 1 not in {row.image_id for row in trained.predictions}
    assert "train images" in trained.manifest.decision.reason or "No image" in trained.manifest.decision.reason


def test_images_without_boxes_are_not_enough(run, tmp_path):
    empty = drawn_as([Split.TRAIN] * 3)
    items = tuple(item.model_copy(update={"annotations": ()}) for item in empty.dataset.items)
    empty.dataset = empty.dataset.model_copy(update={"items": items})
    with pytest.raises(NotTrainable, match="with a box"):
        run(tmp_path, given=empty)


def test_a_file_that_disagrees_is_not_published_but_kept(run, short, few, tmp_path, monkeypatch):
    monkeypatch.setattr(shape_training, "MAX_SCORE_DIFFERENCE", -1.0)
    with pytest.raises(ParityFailed):
        run(tmp_path, given=few)
    assert (tmp_path / "bundle/model.onnx").exists()
