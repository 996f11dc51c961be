import json
from dataclasses import replace

import numpy as np
import pytest

from app.catalog import NotTrainable
from app.contracts.dataset import AnnotationValue, CategoryRef
from app.contracts.jobs import LogLine, MetricPoint, Progress, TrainSpec
from app.contracts.tasks import Split
from app.inference import Engine, read_bundle
from app.inference.metrics import measure
from tests.ml.conftest import make_parts
from worker.ml.evaluation import parity


def test_learns_what_a_scratch_looks_like_and_proves_its_file(trained, parts):
    assert trained.metrics["test"].auroc.value > 0.95
    assert trained.metrics["train"].n_images == 60
    assert trained.manifest.parity.n_images == 24
    assert trained.manifest.parity.max_score_difference < 1e-4
    assert read_bundle(trained.bundle_dir).manifest == trained.manifest
    assert trained.manifest.lineage.dataset_hash == parts.dataset.content_hash()


def test_has_a_row_for_every_image_labelled_or_not(trained, parts):
    by_id = {row.image_id: row for row in trained.predictions}
    assert set(by_id) == {item.image_id for item in (*parts.dataset.items, *parts.dataset.unlabelled)}
    for item in parts.dataset.unlabelled:
        assert by_id[item.image_id].split is None
        assert by_id[item.image_id].true_category_id is None
    assert all(abs(sum(row.scores) - 1) < 1e-5 for row in trained.predictions)


def test_the_served_answer_is_the_evaluated_one(trained, parts):
    model = Engine().get(trained.bundle_dir)
    by_id = {row.image_id: row for row in trained.predictions}
    items = parts.dataset.items[:10]
    for item, answer in zip(items, model.predict([parts.open_image(item) for item in items]), strict=True):
        np.testing.assert_allclose(answer.scores.scores, by_id[item.image_id].scores, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(train, tmp_path):
    spec = TrainSpec(backbone="toy", symmetry="auto", seed=3)
    first = train(spec=spec, work_dir=tmp_path / "a")
    second = train(spec=spec, work_dir=tmp_path / "b", cache=tmp_path / "other cache")
    assert first.manifest.model_sha256 == second.manifest.model_sha256
    assert first.manifest.decision == second.manifest.decision


def test_compares_symmetries_and_says_why(train):
    said = []
    trained = train(spec=TrainSpec(backbone="toy"), on_event=said.append)
    rows = trained.tables["symmetries"]["rows"]
    assert [row["name"] for row in rows if row["is_chosen"]]
    assert {row["passes"] for row in rows} == {1, 2}
    assert all(row["auroc"]["low"] <= row["auroc"]["value"] <= row["auroc"]["high"] for row in rows)
    assert any(isinstance(event, LogLine) and event.text.startswith("Symmetry:") for event in said)
    assert {event.name for event in said if isinstance(event, MetricPoint)} == {
        "cross_validated_auroc",
        "auroc_by_share_of_labels",
    }


def test_progress_never_falls_and_ends_at_one(train):
    said = []
    train(on_event=said.append)
    fractions = [event.fraction for event in said if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0 or said[-1].stage == "Publishing"
    stages = list(dict.fromkeys(event.stage for event in said if isinstance(event, Progress)))
    assert stages == ["Comparison", "Features", "Fitting", "Evaluation", "Publishing"]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stage", ["Comparison", "Features", "Fitting", "Evaluation", "Publishing"])
def test_an_interrupted_training_goes_on_and_ends_with_the_same_model(train, tmp_path, stage):
    spec = TrainSpec(backbone="toy", symmetry="auto", seed=1)

    def stop(event):
        if isinstance(event, Progress) and event.stage == stage:
            raise Stopped

    with pytest.raises(Stopped):
        train(spec=spec, on_event=stop, work_dir=tmp_path / "w", cache=tmp_path / "c")
    said = []
    resumed = train(spec=spec, on_event=said.append, work_dir=tmp_path / "w", cache=tmp_path / "c")
    whole = train(spec=spec, work_dir=tmp_path / "x", cache=tmp_path / "y")
    assert resumed.manifest.model_sha256 == whole.manifest.model_sha256
    if stage != "Comparison":
        assert any(isinstance(event, LogLine) and event.text.startswith("Going on") for event in said)


def test_a_damaged_image_is_left_out_with_a_line_in_the_log(train, parts):
    key = parts.dataset.items[0].blob_key
    broken = replace(parts, content={**parts.content, key: b"\xff\xd8\xff not much of a picture"})
    items = (parts.dataset.items[0].model_copy(update={"sha256": "ab" * 32}), *parts.dataset.items[1:])
    broken.dataset = parts.dataset.model_copy(update={"items": items})
    said = []
    trained = train(broken, on_event=said.append)
    assert list(trained.unreadable) == [0]
    assert 0 not in {row.image_id for row in trained.predictions}
    assert [event.level for event in said if isinstance(event, LogLine) and "left out" in event.text] == ["warning"]


def test_one_class_is_not_enough(train, parts):
    items = tuple(item for item in parts.dataset.items if item.category_id == 11)
    with pytest.raises(NotTrainable):
        train(replace(parts, dataset=parts.dataset.model_copy(update={"items": items})))


def test_three_classes_without_a_good_one_are_judged_by_confidence(train, parts):
    categories = (
        *(category.model_copy(update={"is_good": False}) for category in parts.dataset.categories),
        CategoryRef(id=33, name="never seen", color="#123456"),
    )
    trained = train(replace(parts, dataset=parts.dataset.model_copy(update={"categories": categories})))
    assert trained.manifest.decision.kind == "confidence"
    assert {len(row.scores) for row in trained.predictions} == {3}
    assert max(row.scores[2] for row in trained.predictions) < 1e-3


def test_a_tiny_dataset_trains(train, parts):
    items = tuple(
        item.model_copy(
            update={"split": Split.TRAIN, "annotations": (AnnotationValue(category_id=11 if index % 2 else 22),)}
        )
        for index, item in enumerate(parts.dataset.items[:4])
    )
    trained = train(replace(parts, dataset=parts.dataset.model_copy(update={"items": items})))
    assert trained.manifest.parity.n_images == 4
    assert trained.manifest.decision.threshold == 0.5


def test_a_bundle_that_disagrees_with_its_features_is_not_published_but_kept(train, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "MAX_SCORE_DIFFERENCE", {"f32": -1.0})
    with pytest.raises(parity.ParityFailed) as failure:
        train(work_dir=tmp_path / "w")
    assert (tmp_path / "w/bundle/model.onnx").exists()
    assert failure.value.check.n_images > 0
    manifest = json.loads((tmp_path / "w/bundle/manifest.json").read_text())
    assert manifest["parity"] is None


def test_a_warm_training_computes_nothing_and_needs_no_torch(train, tmp_path):
    train(work_dir=tmp_path / "a")
    said = []
    train(work_dir=tmp_path / "b", on_event=said.append)
    assert any(isinstance(event, LogLine) and event.text.startswith("All features were there") for event in said)


def test_the_default_threshold_has_the_f1_that_its_sentence_says(train):
    """Hard enough to make mistakes: the sentence, the metrics and the threshold tell of the same F1."""
    generator = np.random.default_rng(5)
    parts = make_parts(n_train=60, n_dev=90, n_test=6)
    items = tuple(
        item.model_copy(update={"annotations": (AnnotationValue(category_id=33 - item.category_id),)})
        if generator.random() < 0.15
        else item
        for item in parts.dataset.items
    )
    trained = train(replace(parts, dataset=parts.dataset.model_copy(update={"items": items})))
    shown = trained.metrics["dev"].f1.value
    assert 0.5 < shown < 1.0
    assert trained.manifest.decision.reason == (
        f"Highest F1 of finding defects on the dev images: {shown:.3f}, from 90 images."
    )


def test_measures_with_the_rule_that_is_served(trained):
    truth = np.array([0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    manifest = trained.manifest.model_copy(
        update={"decision": trained.manifest.decision.model_copy(update={"threshold": 0.3})}
    )
    assert measure(truth, scores, manifest).accuracy.value == 1.0
