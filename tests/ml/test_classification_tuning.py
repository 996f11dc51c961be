"""Fine-tuning a classifier on toy parts: where it starts, what it publishes, and that it can be taken up again."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.catalog import BACKBONES
from app.contracts.bundle import Preprocessing
from app.contracts.jobs import Augmentations, LogLine, MetricPoint, Progress, TrainSpec
from app.contracts.tasks import Split
from app.inference import Engine, read_bundle
from app.inference.sessions.openvino import image_part
from tests.ml.conftest import make_parts
from worker.ml.backbones.export import FEATURES_NAME, exported
from worker.ml.backbones.sources import load
from worker.ml.backbones.tail import PooledTail
from worker.ml.data.frozen_part import FrozenPart
from worker.ml.evaluation.parity import ParityFailed
from worker.ml.heads.linear import LinearHead, Whitener, fit
from worker.ml.heads.network import Network
from worker.ml.heads.pooled import PooledHead
from worker.ml.training import classification_fit, classification_tuning
from worker.ml.training.classification import train_classification
from worker.ml.training.classification_fit import entry_of
from worker.ml.training.phases import Phase

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = TrainSpec(backbone="toy", symmetry="rot90", method="fine_tuning", seed=4)
SHORT = Phase("tail", "Last stages", 1e-4, 2, 1.0, backbone_share=5.0, block_decay=0.8, backbone_warmup_steps=2)
HARMFUL = Phase("tail", "Last stages", 0.3, 2, 1.0, backbone_share=1.0)


class Stopped(Exception):
    pass


@contextmanager
def shortened(phase=SHORT):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification_fit, "BATCH", 8)
        patch.setattr(classification_fit, "_MIN_STEPS_AN_EPOCH", 4)
        patch.setattr(classification_fit, "_MAX_STEPS_AN_EPOCH", 4)
        patch.setattr(classification_tuning, "TUNED", phase)
        yield


@pytest.fixture(scope="module")
def few():
    return make_parts(n_train=40, n_test=8, n_unlabelled=2)


@pytest.fixture(scope="module")
def run(cache_dir, few):
    """Fine-tune briefly. Toy parts are so easy that the frozen head must be called ignorant for tuning to win."""
    hold_out = classification_tuning.hold_out

    def ignorant(*given, **named):
        held = hold_out(*given, **named)
        return replace(held, frozen_logits=0.0 * held.frozen_logits)

    def run(work_dir, *, given=few, phase=SHORT, spec=SPEC, is_frozen_ignorant=True, on_event=lambda _event: None):
        with shortened(phase), pytest.MonkeyPatch.context() as patch:
            if is_frozen_ignorant:
                patch.setattr(classification_tuning, "hold_out", ignorant)
            return train_classification(
                spec,
                given.dataset,
                open_image=given.open_image,
                cache_dir=cache_dir,
                work_dir=work_dir,
                on_event=on_event,
                precision="f32",
            )

    return run


@pytest.fixture(scope="module")
def tuned(run, tmp_path_factory):
    """One fine-tuned model, and what was said meanwhile."""
    said = []
    return run(tmp_path_factory.mktemp("tuned"), on_event=said.append), said


def test_what_learns_begins_with_the_answers_of_the_frozen_features(cache_dir):
    card, side = BACKBONES["toy"], 64
    picture = Preprocessing(
        width_px=side, height_px=side, resize="stretch", resample="bilinear", mean=card.mean, std=card.std
    )
    graph = exported(card, image_size_px=side, cache_dir=cache_dir)
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (9, side, side, 3), dtype=np.uint8)
    features = image_part(graph.path, FEATURES_NAME, picture, precision="f32")(pictures)
    features[:, 3] = 1.0  # one that never changes
    whitener = Whitener(features)
    head = fit(whitener, np.arange(9) % 3, 3, 1e-2)
    entry = entry_of(card)
    tail = PooledTail(load(card), entry=entry)
    pooled = PooledHead(card, entry=entry, head=head, mean=whitener.mean, scale=whitener.scale)
    part = FrozenPart(graph, [entry], picture, precision="f32", pooled=range(entry + 1))
    with torch.inference_mode():
        logits = Network(tail, pooled).eval()(part(iter(pictures), len(pictures)))
    np.testing.assert_allclose(logits.numpy(), head.logits(features), atol=2e-3)
    again: LinearHead = pooled.on_features()
    np.testing.assert_allclose(again.logits(features), head.logits(features), atol=1e-4)


def test_the_better_network_is_published_and_both_figures_are_kept(tuned, few):
    trained, said = tuned
    manifest = trained.manifest
    choice = manifest.tuning
    assert choice.published == "tuned"
    assert choice.tuned_log_loss < choice.frozen_log_loss
    assert (choice.n_images, choice.measured_on) == (8, "training images that were held out")
    assert (manifest.lineage.method, manifest.lineage.head) == ("fine_tuning", "linear")
    assert "torch" in manifest.lineage.libraries
    assert [row["is_chosen"] for row in trained.tables["tuning"]["rows"]] == [False, True]
    assert any("The fine-tuned network is published." in one.text for one in said if isinstance(one, LogLine))
    assert [one.x for one in said if isinstance(one, MetricPoint) and one.name == "probability"] == [1.0, 2.0]
    fractions = [one.fraction for one in said if isinstance(one, Progress)]
    assert fractions == sorted(fractions)
    assert manifest.parity.n_images == 8
    assert manifest.parity.max_score_difference < 1e-4
    assert len(trained.predictions) == 50
    assert read_bundle(trained.bundle_dir).manifest == manifest
    model = Engine().get(trained.bundle_dir)
    by_id = {row.image_id: row for row in trained.predictions}
    item = few.dataset.items[0]
    answer = model.predict([few.open_image(item)])[0]
    np.testing.assert_allclose(answer.scores.scores, by_id[item.image_id].scores, atol=1e-5)
    heat = model.explain(few.open_image(item), category_index=1).values
    left, top, right, bottom = (int(place * heat.shape[0] / 64) for place in few.boxes[item.image_id])
    assert heat[top : bottom + 1, left : right + 1].max() == heat.max()


def test_what_tuning_harms_is_published_frozen_as_without_it(run, train, few, tmp_path):
    said = []
    trained = run(tmp_path / "tuned", phase=HARMFUL, is_frozen_ignorant=False, on_event=said.append)
    plain = train(few, spec=SPEC.model_copy(update={"method": "feature_extraction"}))
    assert trained.manifest.tuning.published == "frozen"
    assert trained.manifest.model_sha256 == plain.manifest.model_sha256
    assert trained.manifest.decision == plain.manifest.decision
    assert plain.manifest.tuning is None
    assert any(
        "The frozen backbone with its head is published." in one.text for one in said if isinstance(one, LogLine)
    )


@pytest.mark.parametrize("when", ["after an epoch", "in Evaluation"])
def test_an_interrupted_fine_tuning_ends_with_the_same_model(run, tuned, tmp_path, when):
    def stop(event):
        if isinstance(event, MetricPoint) and event.name == "probability" and when == "after an epoch":
            raise Stopped
        if isinstance(event, Progress) and event.stage == "Evaluation":
            raise Stopped

    with pytest.raises(Stopped):
        run(tmp_path, on_event=stop)
    assert run(tmp_path).manifest.model_sha256 == tuned[0].manifest.model_sha256


def test_dev_judges_where_it_shows_two_classes_and_changes_may_be_chosen(run, tmp_path):
    given = make_parts(n_train=30, n_dev=9, n_test=4)
    spec = SPEC.model_copy(update={"augmentations": Augmentations(noise=20)})
    trained = run(tmp_path / "noisy", given=given, spec=spec)
    assert (trained.manifest.tuning.n_images, trained.manifest.tuning.measured_on) == (9, "the dev images")
    assert trained.manifest.model_sha256 != run(tmp_path / "default", given=given).manifest.model_sha256
    items = tuple(
        item.model_copy(update={"annotations": given.dataset.items[0].annotations}) if item.split is Split.DEV else item
        for item in given.dataset.items
    )
    one_class = replace(given, dataset=given.dataset.model_copy(update={"items": items}))
    assert run(tmp_path / "one class", given=one_class).manifest.tuning.n_images == 6


def test_a_graph_that_says_something_else_than_torch_is_not_published(run, tmp_path, monkeypatch):
    monkeypatch.setitem(classification_tuning.MAX_SCORE_DIFFERENCE, "f32", -1.0)
    with pytest.raises(ParityFailed):
        run(tmp_path)


def test_an_image_that_cannot_be_read_is_left_out(run, few, tmp_path):
    broken = replace(few, content={**few.content, few.dataset.items[1].blob_key: b"no picture"})
    items = list(few.dataset.items)
    items[1] = items[1].model_copy(update={"sha256": "ab" * 32})
    trained = run(tmp_path, given=replace(broken, dataset=few.dataset.model_copy(update={"items": tuple(items)})))
    assert list(trained.unreadable) == [1]
