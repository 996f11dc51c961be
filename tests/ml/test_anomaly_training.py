"""An anomaly detector learns from good images alone, finds what is not like them, and says the same from its file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.catalog import NotTrainable
from app.contracts.dataset import AnnotationValue, CategoryRef
from app.contracts.jobs import JobEventPayload, LogLine, TrainSpec
from app.contracts.tasks import Split, TaskType
from app.inference import Engine
from app.inference.rasters import encode_mask
from tests.ml.conftest import BAD, GOOD, Parts, make_parts
from worker.ml.training.anomaly import train_anomaly
from worker.ml.training.result import TrainedModel

SPEC = TrainSpec(backbone="toy", image_size_px=64)


def make_anomaly_parts(*, n_bad_dev: int = 6, n_train: int = 30) -> Parts:
    """Good images in train, dev and test; defective ones in dev and test only."""
    parts = make_parts(n_train=n_train, n_dev=18, n_test=24)
    items, n_bad = [], 0
    for item in parts.dataset.items:
        if item.category_id == BAD:
            if item.split is Split.TRAIN or (item.split is Split.DEV and n_bad >= n_bad_dev):
                continue
            n_bad += item.split is Split.DEV
            if item.split is Split.TEST:
                left, top, right, bottom = parts.boxes[item.image_id]
                place = encode_mask(np.ones((bottom - top, right - left), dtype=bool), left=left, top=top)
                item = item.model_copy(update={"annotations": (AnnotationValue(category_id=BAD, mask=place),)})  # noqa: PLW2901
        items.append(item)
    categories = (
        CategoryRef(id=BAD, name="Abnormal", color="#cc3344"),
        CategoryRef(id=GOOD, name="Normal", color="#22aa66", is_good=True),
    )
    update = {"task": TaskType.ANOMALY, "categories": categories, "items": tuple(items)}
    return Parts(parts.dataset.model_copy(update=update), parts.content, parts.boxes)


def train(
    parts: Parts,
    cache_dir: Path,
    work_dir: Path,
    *,
    spec: TrainSpec = SPEC,
    precision: str = "f32",
    on_event: Callable[[JobEventPayload], None] = lambda _event: None,
) -> TrainedModel:
    return train_anomaly(
        spec,
        parts.dataset,
        open_image=parts.open_image,
        cache_dir=cache_dir,
        work_dir=work_dir,
        on_event=on_event,
        precision=precision,
    )


@pytest.fixture(scope="module")
def anomaly_parts() -> Parts:
    return make_anomaly_parts()


@pytest.fixture(scope="module")
def anomaly(anomaly_parts: Parts, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return train(anomaly_parts, cache_dir, tmp_path_factory.mktemp("anomaly"))


def test_defects_never_seen_are_found(anomaly: TrainedModel) -> None:
    assert anomaly.metrics["test"].auroc.value > 0.95
    assert anomaly.metrics["test"].average_precision > 0.95
    assert anomaly.metrics["train"].average_precision is None  # good images alone
    assert anomaly.metrics["test"].f1.value > 0.8
    assert [category.name for category in anomaly.manifest.categories] == ["Normal", "Abnormal"]
    assert anomaly.manifest.decision.kind == "ng"
    assert anomaly.manifest.decision.threshold == 0.5


def test_places_are_judged_where_people_marked_them(anomaly: TrainedModel) -> None:
    assert anomaly.metrics["test"].pixel_auroc > 0.9
    assert anomaly.metrics["test"].aupro > 0.8
    assert (anomaly.metrics["dev"].pixel_auroc, anomaly.metrics["dev"].aupro) == (None, None)  # no masks there


def test_the_file_says_what_the_memory_says(anomaly: TrainedModel) -> None:
    parity = anomaly.manifest.parity
    assert parity.n_images > 20
    assert parity.max_score_difference < 1e-3
    assert parity.n_changed_decisions == 0


def test_every_image_gets_a_row_and_scores_are_not_clipped(anomaly: TrainedModel, anomaly_parts: Parts) -> None:
    dataset = anomaly_parts.dataset
    assert {row.image_id for row in anomaly.predictions} == {
        item.image_id for item in (*dataset.items, *dataset.unlabelled)
    }
    held_out = [row.scores[1] for row in anomaly.predictions if row.split is not Split.TRAIN]
    assert len(set(held_out)) == len(held_out)
    assert all(0.0 < score < 1.0 for score in held_out)


def test_heat_shows_the_defect(anomaly: TrainedModel, anomaly_parts: Parts) -> None:
    model = Engine().get(anomaly.bundle_dir)
    hits = []
    for item in anomaly_parts.dataset.items:
        if item.category_id != BAD:
            continue
        heat = model.explain(anomaly_parts.open_image(item), category_index=1).values
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        left, top, right, bottom = anomaly_parts.boxes[item.image_id]
        cell = item.width_px / heat.shape[1]
        x, y = (column + 0.5) * cell, (row + 0.5) * cell
        hits.append(left - cell <= x <= right + cell and top - cell <= y <= bottom + cell)
    assert np.mean(hits) > 0.9


def test_the_same_seed_gives_the_same_file(
    anomaly: TrainedModel, anomaly_parts: Parts, cache_dir: Path, tmp_path: Path
) -> None:
    again = train(anomaly_parts, cache_dir, tmp_path)
    assert again.manifest.model_sha256 == anomaly.manifest.model_sha256
    assert again.predictions == anomaly.predictions


def test_good_images_alone_give_a_threshold_and_its_false_alarms(cache_dir: Path, tmp_path: Path) -> None:
    parts, said = make_anomaly_parts(n_bad_dev=0, n_train=15), []
    trained = train(parts, cache_dir, tmp_path, on_event=said.append)
    assert "good images alone" in trained.manifest.decision.reason
    assert any(isinstance(event, LogLine) and "Threshold" in event.text for event in said)
    good = [
        row.scores[1] >= 0.5 for row in trained.predictions if row.split is Split.TEST and row.true_category_id == GOOD
    ]
    assert np.mean(good) <= 0.35
    assert trained.metrics["test"].auroc.value > 0.9


def test_a_letterbox_is_left_out_of_the_score(cache_dir: Path, tmp_path: Path, anomaly_parts: Parts) -> None:
    trained = train(anomaly_parts, cache_dir, tmp_path, spec=SPEC.model_copy(update={"resize": "letterbox"}))
    model = Engine().get(trained.bundle_dir)
    heat = model.explain(np.full((32, 64), 90, dtype=np.uint8), category_index=1)
    assert heat.values.shape == (4, 8)
    pixels = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    pixels[:, 16:48] = 90
    distances = model.session.heat(pixels)[0, 1]
    # The picture's edge is not taken for a place where nothing is strange.
    assert distances[2:6].min() > -1
    assert distances.min() >= distances[2:6].min() - 0.01


def test_patches_are_sampled_so_that_memory_does_not_grow_with_images(
    cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.ml.training.anomaly.MAX_POOL", 100)
    said: list[JobEventPayload] = []
    trained = train(make_anomaly_parts(), cache_dir, tmp_path, on_event=said.append)
    assert any(isinstance(event, LogLine) and "of 100 patches of 20 good images" in event.text for event in said)
    assert trained.metrics["test"].auroc.value > 0.9


def test_too_few_good_images_are_refused_with_words(cache_dir: Path, tmp_path: Path) -> None:
    parts = make_anomaly_parts()
    items = tuple(item for item in parts.dataset.items if item.split is not Split.TRAIN)
    parts = Parts(parts.dataset.model_copy(update={"items": items}), parts.content, parts.boxes)
    with pytest.raises(NotTrainable, match="good images"):
        train(parts, cache_dir, tmp_path)
