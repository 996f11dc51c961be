"""Detectors and segmenters that compare each image with its reference, on the toy backbone and drawn boards."""

import pytest

from app.contracts.bundle import FindRule
from app.contracts.jobs import TrainSpec
from app.contracts.reference import reference_file
from app.contracts.tasks import Split, TaskType
from app.inference.bundle import BundleInvalid, read_bundle
from app.inference.engine import Engine
from app.inference.loaded import ReferenceMissing
from app.inference.preprocess import Compared
from tests.boards import BY_NAME, ONE, SIDE_PX, Boards
from worker.ml.data import references
from worker.ml.training import detection, detection_fit, segmentation, segmentation_fit
from worker.ml.training.detection import train_detection
from worker.ml.training.phases import Phase
from worker.ml.training.segmentation import train_segmentation

SPEC = TrainSpec(backbone="toy", image_size_px=SIDE_PX)
PLAN = [Split.TRAIN] * 24 + [Split.DEV] * 8 + [Split.TEST] * 8 + [None] * 2

pytestmark = pytest.mark.usefixtures("one_thread")


def train(call, boards, folder, *, spec=SPEC, n_epochs=2, on_event=lambda _event: None):
    phase = Phase("head", "Head", 5e-3, n_epochs, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "FROZEN_ALONE", phase)
        patch.setattr(detection_fit, "BATCH", 8 if n_epochs > 2 else 3)
        patch.setattr(detection_fit, "_MIN_STEPS_AN_EPOCH", 10 if n_epochs > 2 else 3)
        if n_epochs <= 2:  # so that something is found, though hardly anything is learned
            patch.setattr(detection, "FINDS", FindRule(score_floor=1e-6))
        patch.setattr(segmentation, "FROZEN_ALONE", phase)
        patch.setattr(segmentation_fit, "BATCH", 4)
        patch.setattr(segmentation_fit, "_MIN_STEPS_AN_EPOCH", 3)
        return call(
            spec,
            boards.dataset,
            open_image=boards.open_image,
            cache_dir=folder / "cache",
            work_dir=folder / "work",
            on_event=on_event,
            precision="f32",
        )


@pytest.fixture(scope="module")
def pairs():
    return Boards(PLAN, BY_NAME)


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory):
    return train(train_detection, pairs, tmp_path_factory.mktemp("pairs"), n_epochs=6)


def test_learns_what_only_shows_next_to_the_reference(trained):
    # Without references: 0.1 to 0.25, whatever it learns.
    assert trained.metrics["test"].map50.value > 0.4
    assert trained.manifest.parity.n_changed_decisions == 0
    assert trained.manifest.parity.max_score_difference <= 1e-3
    assert not trained.unreadable


def test_the_bundle_alone_finds_the_same(trained, pairs):
    model = Engine().get(trained.bundle_dir)
    assert model.manifest.preprocessing.channels == "compared"
    assert model.manifest.reference.rule == BY_NAME
    rows = {row.image_id: row.shapes for row in trained.predictions}
    for item in pairs.dataset.items[-4:]:
        picture = pairs.open_image(item)
        by_key = model.find(Compared(picture, key=item.reference.key))
        by_picture = model.find(Compared(picture, pairs.content[item.reference.blob_key]))
        assert by_key == by_picture == rows[item.image_id]


@pytest.mark.parametrize("key", ["part999", None, ""])
def test_without_a_known_reference_it_says_so(trained, pairs, key):
    model = Engine().get(trained.bundle_dir)
    with pytest.raises(ReferenceMissing):
        model.find(Compared(pairs.content["image-0"], key=key))


def test_one_reference_for_all_needs_no_key_and_segments_too(tmp_path):
    boards = Boards([Split.TRAIN] * 8 + [Split.DEV] * 4, ONE, TaskType.SEGMENTATION)
    trained = train(train_segmentation, boards, tmp_path)
    model = Engine().get(trained.bundle_dir)
    rows = {row.image_id: row.shapes for row in trained.predictions}
    assert list(model.manifest.reference.pictures) == [""]
    assert model.find(boards.content["image-9"]) == rows[9]
    (sha256,) = model.manifest.reference.pictures.values()
    (trained.bundle_dir / reference_file(sha256)).write_bytes(boards.content["image-0"])
    with pytest.raises(BundleInvalid, match="reference"):
        read_bundle(trained.bundle_dir)


def test_more_references_than_a_bundle_carries_are_brought_by_the_calls(tmp_path, monkeypatch):
    monkeypatch.setattr(references, "MAX_BUNDLED", 3)
    boards = Boards([Split.TRAIN] * 5 + [Split.DEV] * 3, BY_NAME)
    trained = train(train_detection, boards, tmp_path)
    assert trained.manifest.reference.pictures == {}
    assert len(list(trained.bundle_dir.iterdir())) == 2
    model = Engine().get(trained.bundle_dir)
    rows = {row.image_id: row.shapes for row in trained.predictions}
    assert model.find(Compared(boards.content["image-1"], boards.content["reference-1"])) == rows[1] != ()
    with pytest.raises(ReferenceMissing):
        model.find(Compared(boards.content["image-1"], key="part1"))


def test_an_image_without_reference_is_left_out_and_a_spec_may_do_without(tmp_path):
    boards = Boards([Split.TRAIN] * 5 + [Split.DEV] * 3, BY_NAME)
    first = boards.dataset.items[0].model_copy(update={"reference": None})
    boards.dataset = boards.dataset.model_copy(update={"items": (first, *boards.dataset.items[1:])})
    trained = train(train_detection, boards, tmp_path)
    assert trained.unreadable == {0: "It has no reference image."}
    spec = SPEC.model_copy(update={"use_references": False})
    plain = train(train_detection, boards, tmp_path / "plain", spec=spec)
    assert plain.manifest.reference is None
    assert plain.manifest.preprocessing.channels == "rgb"
    assert not plain.unreadable


def test_the_reference_is_part_of_what_is_learned_from():
    dataset = Boards([Split.TRAIN] * 2, BY_NAME).dataset
    without = dataset.model_copy(
        update={
            "reference_rule": None,
            "items": tuple(item.model_copy(update={"reference": None}) for item in dataset.items),
        }
    )
    swapped = tuple(
        item.model_copy(update={"reference": other.reference})
        for item, other in zip(dataset.items, reversed(dataset.items), strict=True)
    )
    hashes = {
        dataset.content_hash(),
        without.content_hash(),
        dataset.model_copy(update={"items": swapped}).content_hash(),
    }
    assert len(hashes) == 3
